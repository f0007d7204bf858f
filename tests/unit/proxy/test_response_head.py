"""The head of an answer is checked and written anew."""

from __future__ import annotations

import pytest

from gateway.errors import BadGateway
from gateway.proxy.response_head import MAX_FIELDS, MAX_HEAD, ResponseHead, ResponseRules

RULES = ResponseRules((b"__Host-gw_refresh",), frozenset({b"x-user-id"}))


def read(*lines: bytes, status: bytes = b"HTTP/1.1 200 OK") -> ResponseHead:
    return RULES.read(b"\r\n".join([status, *lines, b"", b""]))


@pytest.mark.parametrize("time", ["first", "second"])
def test_what_passes_and_what_does_not(time: str) -> None:
    head = read(
        b"Server: x",
        b"X-Bytes:\xff\t\xfe  ",
        b"Connection: keep-alive, X-Hop, Content-Length",
        b"x-hop: 1",
        b"Keep-Alive: 1",
        b"Content-Length: 010",
        b"Set-Cookie: a=1",
        b"Set-Cookie:  __Host-gw_refresh =1",
        b"Set-Cookie: =__Host-gw_refresh=1",
        b"X-Request-Id: theirs",
        b"x_user_id: theirs",
        b"Trailer: X-Sum",
        b"Content_Length: 9",
        b"Empty:",
    )
    assert head.head == b"HTTP/1.1 200 OK\r\nServer: x\r\nX-Bytes: \xff\t\xfe\r\nSet-Cookie: a=1\r\nEmpty: \r\n", time
    assert (head.status, head.length, head.chunked, head.close) == (200, 10, False, False)


def test_chunked_and_undeclared() -> None:
    assert read(b"transfer-encoding:  Chunked ").chunked
    bare = read(status=b"HTTP/1.1 299")
    assert (bare.head, bare.length, bare.chunked) == (b"HTTP/1.1 299 \r\n", None, False)
    assert read(b"Connection: close", status=b"HTTP/1.1 200 \xe9").head == b"HTTP/1.1 200 \xe9\r\n"


@pytest.mark.parametrize(
    ("version", "connection", "closes"),
    [
        (b"1", b"X: y", False),
        (b"1", b"Connection: close", True),
        (b"1", b"Connection: Keep-Alive, Close", True),
        (b"1", b"Connection: keep-alive", False),
        (b"0", b"X: y", True),
        (b"0", b"Connection: keep-alive", False),
        (b"0", b"Connection: x, Keep-Alive", False),
        (b"0", b"Connection: keep-alive, close", True),
    ],
)
def test_whether_the_connection_may_be_used_again(version: bytes, connection: bytes, closes: bool) -> None:
    assert read(connection, status=b"HTTP/1.%b 200 OK" % version).close is closes


@pytest.mark.parametrize(
    ("status", "lines"),
    [
        (b"HTTP/1.1 200 OK", [b"Content-Length: 1", b"Content-Length: 1"]),
        (b"HTTP/1.1 200 OK", [b"Content-Length: x"]),
        (b"HTTP/1.1 200 OK", [b"Content-Length: +1"]),
        (b"HTTP/1.1 200 OK", [b"Content-Length: 1, 1"]),
        (b"HTTP/1.1 200 OK", [b"Content-Length:"]),
        (b"HTTP/1.1 200 OK", [b"Content-Length: " + b"9" * 5000]),
        (b"HTTP/1.1 200 OK", [b"Content-Length: 1", b"Transfer-Encoding: chunked"]),
        (b"HTTP/1.1 200 OK", [b"Transfer-Encoding: gzip, chunked"]),
        (b"HTTP/1.1 200 OK", [b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"]),
        (b"HTTP/1.1 200 OK", [b"Transfer-Encoding: \x0bchunked"]),
        (b"HTTP/1.1 200 OK", [b"Content-Length: " + b"0" * 5000]),
        (b"HTTP/1.0 200 OK", [b"Transfer-Encoding: chunked"]),
        (b"HTTP/1.1 200 O\rK", []),
        (b"HTTP/1.1 200 O\nK", []),
        (b"HTTP/1.1 200 O\x00K", []),
        (b"HTTP/1.1 200OK", []),
        (b"HTTP/1.1 20 OK", []),
        (b"HTTP/1.1 2000 OK", []),
        (b"HTTP/1.1 099 OK", []),
        (b"HTTP/1.1  200 OK", []),
        (b"HTTP/1.2 200 OK", []),
        (b"HTTP/2.0 200 OK", []),
        (b"http/1.1 200 OK", []),
        (b" HTTP/1.1 200 OK", []),
        (b"ICY 200 OK", []),
        (b"", []),
        (b"HTTP/1.1 200 OK", [b"A: b\nc: d"]),
        (b"HTTP/1.1 200 OK", [b"A: b\rc: d"]),
        (b"HTTP/1.1 200 OK", [b"A: b\x00"]),
        (b"HTTP/1.1 200 OK", [b"A: b\x7f"]),
        (b"HTTP/1.1 200 OK", [b"A b: c"]),
        (b"HTTP/1.1 200 OK", [b"A : c"]),
        (b"HTTP/1.1 200 OK", [b"A: b", b" folded: c"]),
        (b"HTTP/1.1 200 OK", [b"A: b", b"\tfolded"]),
        (b"HTTP/1.1 200 OK", [b"no colon"]),
        (b"HTTP/1.1 200 OK", [b": nameless"]),
        (b"HTTP/1.1 200 OK", [b"A: " + b"b" * MAX_HEAD]),
        (b"HTTP/1.1 200 OK", [b"A: b"] * (MAX_FIELDS + 1)),
    ],
)
def test_what_is_refused(status: bytes, lines: list[bytes]) -> None:
    for _ in range(2):  # a second look is no kinder
        with pytest.raises(BadGateway):
            read(*lines, status=status)


def test_lines_are_remembered_but_not_without_bound() -> None:
    rules = ResponseRules()
    for number in range(5000):
        head = rules.read(b"HTTP/1.1 200 %d\r\nX-Number: %d\r\nLong: %b\r\n\r\n" % (number, number, b"x" * 300))
        assert head.head == b"HTTP/1.1 200 %d\r\nX-Number: %d\r\nLong: %b\r\n" % (number, number, b"x" * 300)
    assert len(rules._status_lines) <= 4096
    assert 0 < len(rules._lines) <= 4096
    assert all(len(line) <= 256 for line in rules._lines)


def test_trailers_are_announced_only_where_they_can_follow() -> None:
    announced = [b"Trailer: X-Sum, x-user-id,Content-Length", b"trailer: not a token, X-B"]
    assert read(*announced, b"Transfer-Encoding: chunked").head == b"HTTP/1.1 200 OK\r\nTrailer: x-sum, x-b\r\n"
    assert read(*announced, b"Content-Length: 1").head == b"HTTP/1.1 200 OK\r\n"
    assert read(b"Trailer: Set-Cookie", b"Transfer-Encoding: chunked").head == b"HTTP/1.1 200 OK\r\n"


def test_trailers_that_pass() -> None:
    fields = [(b"X-Sum", b"1"), (b"x_user_id", b"2"), (b"x-hop", b"3"), (b"Content_Type", b"4"), (b"Empty", b"")]
    hop_by_hop = read(b"connection: close, X_Hop").hop_by_hop
    assert RULES.trailers(fields, hop_by_hop) == b"X-Sum: 1\r\nEmpty: \r\n"
    assert RULES.trailers([], hop_by_hop) == b""
