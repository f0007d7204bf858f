"""The upstream's head: its framing is checked on the raw headers and it is written anew, never passed as bytes."""

from __future__ import annotations

from typing import Final

from gateway.errors import BadGateway
from gateway.proxy.header_actions import (
    CONNECTION,
    CONTENT_LENGTH,
    CONTROLS,
    DROP,
    LONGEST_LENGTH,
    NOT_NAMEABLE,
    RESPONSE_NAMES,
    SET_COOKIE,
    TRANSFER_ENCODING,
    Actions,
)
from gateway.proxy.headers import RawHeaders

MAX_HEAD: Final = 64 * 1024
_MAX_REMEMBERED: Final = 1024


class ResponseHead:
    """An upstream's head, checked. `head` ends in CRLF but is not closed; `length` is None when it is not declared."""

    __slots__ = ("chunked", "head", "length")

    def __init__(self, head: bytes, length: int | None, *, chunked: bool) -> None:
        self.head = head
        self.length = length
        self.chunked = chunked


class ResponseRules:
    """The rules for responses, compiled: `cookies` are the gateway's own, which no upstream may set."""

    __slots__ = ("_actions", "_cookies", "_status_lines")

    def __init__(self, cookies: tuple[bytes, ...] = ()) -> None:
        self._actions = Actions(RESPONSE_NAMES)
        self._cookies = frozenset(cookies)
        self._status_lines: dict[tuple[int, str], bytes] = {}

    def render(self, status: int, reason: str, headers: RawHeaders) -> ResponseHead:
        """Check the framing of an upstream's head and write it anew. Raises `BadGateway`."""
        actions = self._actions
        lines = [self._status_lines.get((status, reason)) or self._status_line(status, reason)]
        add = lines.append
        length: int | None = None
        rest: list[tuple[int, bytes]] | None = None
        for name, value in headers:
            action = actions[name]
            if action.__class__ is bytes:
                add(action + value)
            elif action == CONTENT_LENGTH:
                if length is not None or not value.isdigit() or len(value) > LONGEST_LENGTH:
                    raise BadGateway(debug="the upstream's Content-Length is not one number")
                length = int(value)
            elif action == DROP or (action == CONNECTION and value == b"keep-alive"):
                continue
            else:
                rest = rest or []
                rest.append((action, value))  # type: ignore[arg-type]
        chunked = False
        if rest is not None:
            chunked, lines = self._uncommon(rest, lines)
            if chunked and length is not None:
                raise BadGateway(debug="the upstream sent Content-Length and Transfer-Encoding")
        return ResponseHead(_joined(lines), length, chunked=chunked)

    def _uncommon(self, fields: list[tuple[int, bytes]], lines: list[bytes]) -> tuple[bool, list[bytes]]:
        """Whether the body is chunked, and the lines with what is to be added and dropped."""
        chunked = False
        named: list[bytes] = []
        for action, value in fields:
            if action == TRANSFER_ENCODING:
                if chunked or value.strip(b" \t").lower() != b"chunked":
                    raise BadGateway(debug="the upstream's transfer coding is not chunked")
                chunked = True
            elif action == SET_COOKIE:
                # A browser sends the nameless cookie `=a=b` back as `a=b` (RFC 6265bis 5.6).
                if value.lstrip(b" \t=").partition(b"=")[0].strip() not in self._cookies:
                    lines.append(b"Set-Cookie: " + value)
            elif action == CONNECTION:
                named += [part.strip(b" \t") for part in value.lower().split(b",")]
            else:
                raise BadGateway(debug="a header name of the upstream is not a token")
        return chunked, _without_named(lines, named) if named else lines

    def _status_line(self, status: int, reason: str) -> bytes:
        line = f"HTTP/1.1 {status} {reason}".encode("utf-8", "surrogateescape")
        if len(self._status_lines) >= _MAX_REMEMBERED:
            self._status_lines.clear()
        self._status_lines[status, reason] = line
        return line


def _without_named(lines: list[bytes], named: list[bytes]) -> list[bytes]:
    dropped = {token for token in named if token not in NOT_NAMEABLE}
    if not dropped:
        return lines
    return [lines[0], *(line for line in lines[1:] if line.partition(b":")[0].lower() not in dropped)]


def _joined(lines: list[bytes]) -> bytes:
    lines.append(b"")
    head = b"\r\n".join(lines)
    if len(head) > MAX_HEAD:
        raise BadGateway(debug="the upstream's head is too large")
    # The parser is lenient with upstreams: a stray control character would be a second head to the client.
    if len(head.translate(None, CONTROLS)) != len(head) - 2 * (len(lines) - 1):
        raise BadGateway(debug="the upstream's head has control characters")
    return head
