"""The upstream's head, read strictly line by line and written anew: never passed as bytes.

Backends send the same few lines all day, so what a line means is judged once and remembered (docs/decisions/0007).
"""

from __future__ import annotations

import re
from typing import Final

from gateway.errors import BadGateway
from gateway.proxy.header_actions import (
    CONNECTION,
    CONTENT_LENGTH,
    DROP,
    NOT_NAMEABLE,
    REFUSE,
    RESPONSE_NAMES,
    SET_COOKIE,
    TRANSFER_ENCODING,
    Actions,
)

MAX_HEAD: Final = 64 * 1024
MAX_FIELDS: Final = 256
_MAX_REMEMBERED: Final = 4096
_LONGEST_REMEMBERED: Final = 256
_STATUS: Final = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?")
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_MOST_DIGITS: Final = 18
_KEEP_ALIVE: Final = -1


class _Line:
    """A line that does more than pass: `kind` is the code of its header."""

    __slots__ = ("kind", "number", "tokens", "value")

    def __init__(self, kind: int, value: bytes) -> None:
        self.kind = kind
        self.value = value
        self.number = 0
        self.tokens: tuple[bytes, ...] = ()


class ResponseHead:
    """An upstream's head, checked. `head` ends in CRLF but is not closed; `length` is None when it is not declared;
    `close`: the connection is not to be used again.
    """

    __slots__ = ("chunked", "close", "head", "length", "status")

    def __init__(self, status: int, head: bytes, length: int | None, *, chunked: bool, close: bool) -> None:
        self.status = status
        self.head = head
        self.length = length
        self.chunked = chunked
        self.close = close


class _StatusLine:
    __slots__ = ("modern", "rendered", "status")

    def __init__(self, status: int, rendered: bytes, *, modern: bool) -> None:
        self.status = status
        self.rendered = rendered
        self.modern = modern


class ResponseRules:
    """The rules for responses, compiled: `cookies` are the gateway's own, which no upstream may set."""

    __slots__ = ("_actions", "_cookies", "_lines", "_status_lines")

    def __init__(self, cookies: tuple[bytes, ...] = ()) -> None:
        self._actions = Actions(RESPONSE_NAMES)
        self._cookies = frozenset(cookies)
        self._lines: dict[bytes, bytes | _Line] = {}
        self._status_lines: dict[bytes, _StatusLine] = {}

    def read(self, data: bytes) -> ResponseHead:
        """Check a head, `data` being all of it with the empty line, and write it anew. Raises `BadGateway`."""
        lines = data.split(b"\r\n")
        if len(data) > MAX_HEAD or len(lines) > MAX_FIELDS + 3:
            raise BadGateway(debug="the upstream's head is too large")
        first = self._status_lines.get(lines[0]) or self._status_line(lines[0])
        known = self._lines
        out = [first.rendered]
        add = out.append
        length: int | None = None
        kept = False
        special: list[_Line] | None = None
        for line in lines[1:-2]:
            found = known.get(line)
            if found is None:
                found = self._judge(line)
            if found.__class__ is bytes:
                add(found)
            elif found.kind == CONTENT_LENGTH:  # type: ignore[union-attr]
                if length is not None:
                    raise BadGateway(debug="the upstream sent Content-Length twice")
                length = found.number  # type: ignore[union-attr]
            elif found.kind == _KEEP_ALIVE:  # type: ignore[union-attr]
                kept = True
            elif found.kind != DROP:  # type: ignore[union-attr]
                special = special or []
                special.append(found)  # type: ignore[arg-type]
        chunked = False
        close = not (first.modern or kept)
        if special is not None:
            chunked, close, out = _apply(special, out, modern=first.modern, kept=kept)
            if chunked and (length is not None or not first.modern):
                raise BadGateway(debug="the upstream's transfer coding contradicts the rest of its head")
        out.append(b"")
        return ResponseHead(first.status, b"\r\n".join(out), length, chunked=chunked, close=close)

    def _status_line(self, line: bytes) -> _StatusLine:
        found = _STATUS.fullmatch(line)
        if found is None:
            raise BadGateway(debug="the upstream's status line is malformed")
        rendered = b"HTTP/1.1 %b %b" % (found[2], found[3] or b"")
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
        meaning = action + value if isinstance(action, bytes) else self._special(action, value)
        if len(line) <= _LONGEST_REMEMBERED:
            if len(self._lines) >= _MAX_REMEMBERED:
                self._lines.clear()
            self._lines[line] = meaning
        return meaning

    def _special(self, kind: int, value: bytes) -> bytes | _Line:
        line = _Line(kind, value)
        if kind == CONTENT_LENGTH:
            if not value.isdigit() or len(value) > _MOST_DIGITS:
                raise BadGateway(debug="the upstream's Content-Length is not one number")
            line.number = int(value)
        elif kind == TRANSFER_ENCODING:
            if value.lower() != b"chunked":
                raise BadGateway(debug="the upstream's transfer coding is not chunked")
        elif kind == CONNECTION:
            line.tokens = tuple(part.strip(b" \t") for part in value.lower().split(b","))
            if line.tokens == (b"keep-alive",):
                line.kind = _KEEP_ALIVE
        elif kind == SET_COOKIE:
            if value.partition(b"=")[0].strip() not in self._cookies:
                return b"Set-Cookie: " + value
            line.kind = DROP
        return line


def _apply(special: list[_Line], lines: list[bytes], *, modern: bool, kept: bool) -> tuple[bool, bool, list[bytes]]:
    """Whether the body is chunked, whether the connection closes, and the lines that are left."""
    chunked = False
    tokens: set[bytes] = set()
    for line in special:
        if line.kind == TRANSFER_ENCODING:
            if chunked:
                raise BadGateway(debug="the upstream sent Transfer-Encoding twice")
            chunked = True
        else:
            tokens.update(line.tokens)
    close = b"close" in tokens or not (modern or kept or b"keep-alive" in tokens)
    dropped = tokens - NOT_NAMEABLE
    if dropped:
        lines = [lines[0], *(line for line in lines[1:] if line.partition(b":")[0].lower() not in dropped)]
    return chunked, close, lines
