"""Headers set and removed on a route."""

from __future__ import annotations

from gateway.proxy.header_rules import HeaderRules

RULES = HeaderRules({"X-Set": "v\u00e9"}, ["X-Gone"])


def test_lines_are_replaced_and_removed_under_every_spelling() -> None:
    lines = [b"GET /x-gone HTTP/1.1", b"A: 1", b"x_set: theirs", b"X.GONE: 2", b"x-gone: 3", b"X-Gone2: 4"]
    RULES.apply(lines)
    assert lines == [b"GET /x-gone HTTP/1.1", b"A: 1", b"X-Gone2: 4", "X-Set: v\u00e9".encode()]


def test_heads_as_bytes() -> None:
    head = b"HTTP/1.1 200 x-gone: no\r\nX-Gone: 1\r\nX-Set: 2\r\nA: x-gone: 1\r\n"
    assert RULES.changed(head) == "HTTP/1.1 200 x-gone: no\r\nA: x-gone: 1\r\nX-Set: v\u00e9\r\n".encode()
    assert RULES.removed(head) == b"HTTP/1.1 200 x-gone: no\r\nA: x-gone: 1\r\n"
    assert RULES.removed(b"X-Gone: 1\r\nA: 2\r\n", first=0) == b"A: 2\r\n"
    assert RULES.removed(b"X-Gone: 1\r\n", first=0) == b""
    assert RULES.changed(b"HTTP/1.1 200 OK\r\n") == "HTTP/1.1 200 OK\r\nX-Set: v\u00e9\r\n".encode()
