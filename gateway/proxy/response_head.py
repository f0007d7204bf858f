"""The upstream's head, read strictly line by line and written anew: never passed as bytes.

Backends send the same few lines all day, so what a line means is judged once and remembered (docs/decisions/0007).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from gateway.errors import BadGateway
from gateway.proxy.header_actions import (
    CONNECTION,
    CONTENT_LENGTH,
    DROP,
    LONGEST_LENGTH,
    NOT_NAMEABLE,
    REFUSE,
    RESPONSE_NAMES,
    SET_COOKIE,
    TRAILER,
    TRAILER_NAMES,
    TRANSFER_ENCODING,
    Actions,
)
from gateway.proxy.headers import RawHeaders
from gateway.proxy.identity import fold

MAX_HEAD: Final = 64 * 1024
MAX_FIELDS: Final = 256
_MAX_REMEMBERED: Final = 4096
_LONGEST_REMEMBERED: Final = 256
_STATUS: Final = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?")
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_NONE: Final[frozenset[bytes]] = frozenset()


class _Length(bytes):
    """A Content-Length: nothing of it passes, framing is written anew."""

    number: int


class _KeepAlive(bytes):
    """`Connection: keep-alive`, which only HTTP/1.0 needs to say."""


class _Line:
    """A line that says something about the others: `kind` is the code of its header."""

    __slots__ = ("kind", "tokens")

    def __init__(self, kind: int, tokens: tuple[bytes, ...] = ()) -> None:
        self.kind = kind
        self.tokens = tokens


class ResponseHead:
    """An upstream's head, checked. `head` ends in CRLF but is not closed; `length` is None when it is not declared;
    `close`: the connection is not to be used again. `hop_by_hop`: what Connection named, in lower case.
    """

    __slots__ = ("chunked", "close", "head", "hop_by_hop", "length", "status")

    def __init__(self, status: int, head: bytes, length: int | None, *, close: bool) -> None:
        self.status = status
        self.head = head
        self.length = length
        self.chunked = False
        self.close = close
        self.hop_by_hop = _NONE


class _StatusLine:
    __slots__ = ("modern", "rendered", "status")

    def __init__(self, status: int, rendered: bytes, *, modern: bool) -> None:
        self.status = status
        self.rendered = rendered
        self.modern = modern


class ResponseRules:
    """The rules for responses, compiled: `cookies` are the gateway's own and `identity` the folded names of the headers
    it writes, neither of which an upstream may set.
    """

    __slots__ = ("_actions", "_cookies", "_lines", "_status_lines", "_trailers")

    def __init__(self, cookies: tuple[bytes, ...] = (), identity: frozenset[bytes] = frozenset()) -> None:
        self._actions = Actions(RESPONSE_NAMES, identity)
        self._trailers = Actions(TRAILER_NAMES, identity)
        self._cookies = frozenset(cookies)
        self._lines: dict[bytes, bytes | _Line] = {}
        self._status_lines: dict[bytes, _StatusLine] = {}

    def read(self, data: bytes) -> ResponseHead:
        """Check a head, `data` being all of it with the empty line, and write it anew. Raises `BadGateway`."""
        lines = data.split(b"\r\n")
        if len(data) > MAX_HEAD or len(lines) > MAX_FIELDS + 3:
            raise BadGateway(debug="the upstream's head is too large")
        first = self._status_lines.get(lines[0]) or self._status_line(lines[0])
        if not first.modern:
            return self._read(first, lines)
        found = list(map(self._lines.get, lines[1:-2]))
        try:
            passing = b"".join(found)  # type: ignore[arg-type]
        except TypeError:  # one of the lines is new, or special
            return self._read(first, lines)
        return ResponseHead(first.status, first.rendered + passing, _length(found), close=False)

    def _read(self, first: _StatusLine, lines: list[bytes]) -> ResponseHead:
        """`read` for whatever there may be in a head."""
        found = [self._judge(line) if (known := self._lines.get(line)) is None else known for line in lines[1:-2]]
        special = [meaning for meaning in found if isinstance(meaning, _Line)]
        out = [first.rendered, *(meaning for meaning in found if isinstance(meaning, bytes))]
        kept = any(isinstance(meaning, _KeepAlive) for meaning in found)
        head = ResponseHead(first.status, b"", _length(found), close=not (first.modern or kept))
        if special:
            out = _apply(head, special, out, modern=first.modern, kept=kept)
        head.head = b"".join(out)
        return head

    def trailers(self, fields: RawHeaders, hop_by_hop: frozenset[bytes]) -> bytes:
        """The lines of those fields behind a body that may pass, each ended by CRLF; `hop_by_hop`: that of its head."""
        named = {fold(token) for token in hop_by_hop}
        lines = []
        for name, value in fields:
            action = self._trailers[name]
            if isinstance(action, bytes) and fold(name) not in named:
                lines.append(b"%b%b\r\n" % (action, value))
        return b"".join(lines)

    def _status_line(self, line: bytes) -> _StatusLine:
        found = _STATUS.fullmatch(line)
        if found is None:
            raise BadGateway(debug="the upstream's status line is malformed")
        rendered = b"HTTP/1.1 %b %b\r\n" % (found[2], found[3] or b"")
        status = _StatusLine(int(found[2]), rendered, modern=found[1] == b"1")
        if len(self._status_lines) >= _MAX_REMEMBERED:
            self._status_lines.clear()
        self._status_lines[line] = status
        return status

    def _judge(self, line: bytes) -> bytes | _Line:
        """What a line means. Unknown to the gateway: the line as it is sent on."""
        name, colon, value = line.partition(b":")
        value = value.strip(b" \t")
        action = self._actions[name]
        if not colon or action == REFUSE or _VALUE.fullmatch(value) is None:
            raise BadGateway(debug="a header of the upstream is malformed")
        meaning = b"%b%b\r\n" % (action, value) if isinstance(action, bytes) else self._special(action, value)
        if len(line) <= _LONGEST_REMEMBERED:
            if len(self._lines) >= _MAX_REMEMBERED:
                self._lines.clear()
            self._lines[line] = meaning
        return meaning

    def _special(self, kind: int, value: bytes) -> bytes | _Line:
        if kind == DROP:
            return b""
        if kind == CONTENT_LENGTH:
            if not value.isdigit() or len(value) > LONGEST_LENGTH:
                raise BadGateway(debug="the upstream's Content-Length is not one number")
            length = _Length()
            length.number = int(value)
            return length
        if kind == SET_COOKIE:
            # A browser sends the nameless cookie `=a=b` back as `a=b` (RFC 6265bis 5.6).
            own = value.lstrip(b" \t=").partition(b"=")[0].strip() in self._cookies
            return b"" if own else b"Set-Cookie: %b\r\n" % value
        if kind == TRANSFER_ENCODING and value.lower() != b"chunked":
            raise BadGateway(debug="the upstream's transfer coding is not chunked")
        if kind == CONNECTION:
            tokens = _tokens(value)
            return _KeepAlive() if tokens == (b"keep-alive",) else _Line(kind, tokens)
        if kind == TRAILER:
            return _Line(kind, tuple(name for name in _tokens(value) if isinstance(self._trailers[name], bytes)))
        return _Line(kind)


def _length(found: Iterable[bytes | _Line | None]) -> int | None:
    length = None
    for line in found:
        if line.__class__ is _Length:
            if length is not None:
                raise BadGateway(debug="the upstream sent Content-Length twice")
            length = line.number
    return length


def fields_of(head: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """The fields of a head that `read` has found good, as they stand there."""
    parted = (line.partition(b":") for line in head.split(b"\r\n")[1:-2])
    return tuple((name, value.strip(b" \t")) for name, _, value in parted)


def _tokens(value: bytes) -> tuple[bytes, ...]:
    return tuple(part.strip(b" \t") for part in value.lower().split(b","))


def _apply(head: ResponseHead, special: list[_Line], lines: list[bytes], *, modern: bool, kept: bool) -> list[bytes]:
    """Take in the lines that say something about the others; returns those that are left."""
    tokens: set[bytes] = set()
    announced: list[bytes] = []
    for line in special:
        if line.kind == TRANSFER_ENCODING:
            if head.chunked or head.length is not None or not modern:
                raise BadGateway(debug="the upstream's transfer coding contradicts the rest of its head")
            head.chunked = True
        elif line.kind == TRAILER:
            announced += line.tokens
        else:
            tokens.update(line.tokens)
    head.close = b"close" in tokens or not (modern or kept or b"keep-alive" in tokens)
    if head.chunked and announced:
        lines.append(b"Trailer: %b\r\n" % b", ".join(announced))
    dropped = tokens - NOT_NAMEABLE
    if dropped:
        head.hop_by_hop = frozenset(dropped)
        lines = [lines[0], *(line for line in lines[1:] if line.partition(b":")[0].lower() not in dropped)]
    return lines
