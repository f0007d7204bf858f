"""The head of an answer is checked and written anew."""

from __future__ import annotations

import pytest

from gateway.errors import BadGateway
from gateway.proxy.response_head import MAX_HEAD, ResponseRules

RULES = ResponseRules((b"__Host-gw_refresh",))


def test_what_passes_and_what_does_not() -> None:
    head = RULES.render(
        200,
        "OK",
        [
            (b"Server", b"x"),
            (b"X-Bytes", b"\xff\t\xfe"),
            (b"Connection", b"keep-alive, X-Hop, Content-Length"),
            (b"x-hop", b"1"),
            (b"Keep-Alive", b"1"),
            (b"Content-Length", b"010"),
            (b"Set-Cookie", b"a=1"),
            (b"Set-Cookie", b" __Host-gw_refresh =1"),
            (b"X-Request-Id", b"theirs"),
            (b"Content_Length", b"9"),
        ],
    )
    assert head.head == b"HTTP/1.1 200 OK\r\nServer: x\r\nX-Bytes: \xff\t\xfe\r\nSet-Cookie: a=1\r\n"
    assert (head.length, head.chunked) == (10, False)


def test_chunked_and_undeclared() -> None:
    assert RULES.render(200, "", [(b"transfer-encoding", b" Chunked ")]).chunked
    bare = RULES.render(299, "", [])
    assert (bare.head, bare.length, bare.chunked) == (b"HTTP/1.1 299 \r\n", None, False)
    assert RULES.render(200, "\udce9", [(b"Connection", b"close")]).head == b"HTTP/1.1 200 \xe9\r\n"


@pytest.mark.parametrize(
    ("reason", "headers"),
    [
        ("OK", [(b"Content-Length", b"1"), (b"Content-Length", b"1")]),
        ("OK", [(b"Content-Length", b"x")]),
        ("OK", [(b"Content-Length", b"0" * 5000)]),
        ("OK", [(b"Content-Length", b"1"), (b"Transfer-Encoding", b"chunked")]),
        ("OK", [(b"Transfer-Encoding", b"gzip, chunked")]),
        ("OK", [(b"Transfer-Encoding", b"chunked"), (b"Transfer-Encoding", b"chunked")]),
        ("OK", [(b"Transfer-Encoding", b"\x0bchunked")]),
        ("O\rK", []),
        ("O\nK", []),
        ("OK", [(b"A", b"b\r\nc: d")]),
        ("OK", [(b"A", b"b\x00")]),
        ("OK", [(b"A", b"b\x7f")]),
        ("OK", [(b"A b", b"c")]),
        ("OK", [(b"A", b"b" * MAX_HEAD)]),
    ],
)
def test_what_is_refused(reason: str, headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(BadGateway):
        RULES.render(200, reason, headers)


def test_status_lines_are_remembered_but_not_without_bound() -> None:
    rules = ResponseRules()
    for number in range(1500):
        assert rules.render(200, str(number), []).head == b"HTTP/1.1 200 %d\r\n" % number
    assert len(rules._status_lines) <= 1024
