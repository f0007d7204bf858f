"""Both ends of a strict HTTP/1.1 conversation: an upstream that accepts nothing but flawless requests, and a client
that tells a complete answer from a broken one. Neither shares a parser with the gateway.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from support.proxying import CLAIMS, COOKIES, RawUpstream, Script

HOST = b"gateway.test"
_REQUEST_LINE = re.compile(rb"([A-Z]+) (/[\x21-\x7e]*) HTTP/1\.1")
_FIELD = re.compile(rb"([A-Za-z0-9!#$%&'*+.^_`|~-]+): ?([\x20-\x7e\x80-\xff\t]*)")
# Neither in a hint nor in a trailer.
_NOT_BESIDE_A_BODY = frozenset(
    {b"content-length", b"transfer-encoding", b"connection", b"x-request-id", b"set-cookie", b"x-user-id", b"trailer"}
)
_CHUNK = re.compile(rb"[0-9a-f]{1,8}")
_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) [\x20-\x7e\x80-\xff\t]*")
_HOP_BY_HOP = {
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"proxy-authorization",
    b"te",
    b"trailer",
    b"upgrade",
    b"x-hop",
}
_IDENTITY = {
    b"x-user-id": CLAIMS.subject.encode(),
    b"x-user-name": CLAIMS.username.encode(),
    b"x-user-email": (CLAIMS.email or "").encode(),
    b"x-user-roles": ",".join(CLAIMS.roles).encode(),
    b"x-session-id": CLAIMS.session_id.encode(),
}


class Flaw(AssertionError):
    """What a strict peer takes offence at."""


def parse_fields(lines: list[bytes]) -> dict[bytes, list[bytes]]:
    """Header lines by lower-case name; raises `Flaw` for anything RFC 9112 does not allow to be sent."""
    found: dict[bytes, list[bytes]] = {}
    for line in lines:
        match = _FIELD.fullmatch(line)
        if match is None:
            raise Flaw(f"no header line: {line!r}")
        found.setdefault(match[1].lower(), []).append(match[2])
    return found


@dataclass
class Seen:
    """A request as the upstream got it."""

    method: bytes
    target: bytes
    fields: dict[bytes, list[bytes]]
    body: bytes = b""

    def one(self, name: bytes) -> bytes | None:
        """The value of a header that is there once or not at all."""
        values = self.fields.get(name, [])
        if len(values) > 1:
            raise Flaw(f"{name!r} is there {len(values)} times")
        return values[0] if values else None


def parse_request(head: bytes) -> Seen:
    """A request head, its CRLF CRLF included."""
    line, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise Flaw(f"no request line: {line!r}")
    return Seen(match[1], match[2], parse_fields(lines))


def check_request(seen: Seen) -> None:
    """Everything the gateway promises about the head of a request."""
    if seen.one(b"host") != HOST:
        raise Flaw(f"Host is {seen.fields.get(b'host')}")
    if seen.one(b"transfer-encoding") not in (None, b"chunked"):
        raise Flaw("another transfer coding than chunked")
    if seen.one(b"transfer-encoding") and seen.one(b"content-length"):
        raise Flaw("framed twice")
    if left := _HOP_BY_HOP & seen.fields.keys():
        raise Flaw(f"hop-by-hop headers: {left}")
    for name in (b"x-request-id", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"):
        if not seen.one(name):
            raise Flaw(f"no {name!r}")
    if seen.one(b"x-forwarded-for") != b"127.0.0.1" or seen.one(b"x-forwarded-proto") != b"http":
        raise Flaw("the client's word about itself was believed")
    if (seen.one(b"authorization") or b"").lower().startswith(b"bearer"):
        raise Flaw("a bearer token")
    cookies = seen.one(b"cookie") or b""
    if any(name in cookies for name in COOKIES):
        raise Flaw("a cookie of the gateway's")
    _check_identity(seen)


def _check_identity(seen: Seen) -> None:
    folded: dict[bytes, list[bytes]] = {}
    for name, values in seen.fields.items():
        folded.setdefault(re.sub(rb"[^a-z0-9]", b"-", name), []).extend(values)
    known = b"anonymous" not in seen.target
    for name, value in _IDENTITY.items():
        if folded.get(name, []) != ([value] if known else []):
            raise Flaw(f"{name!r} is {folded.get(name)}")


async def read_body(reader: asyncio.StreamReader, seen: Seen) -> bytes:
    """The body of a request, its chunks without extensions and trailers."""
    if (length := seen.one(b"content-length")) is not None:
        if not re.fullmatch(rb"0|[1-9][0-9]{0,17}", length):
            raise Flaw(f"Content-Length {length!r}")
        return await reader.readexactly(int(length))
    if seen.one(b"transfer-encoding") is None:
        return b""
    parts = []
    while True:
        size = await _line(reader)
        if _CHUNK.fullmatch(size) is None:
            raise Flaw(f"chunk size {size!r}")
        if int(size, 16) == 0:
            break
        parts.append(await reader.readexactly(int(size, 16)))
        if await reader.readexactly(2) != b"\r\n":
            raise Flaw("a chunk does not end where it says")
    if await _line(reader) != b"":
        raise Flaw("trailers")
    return b"".join(parts)


async def _line(reader: asyncio.StreamReader) -> bytes:
    line = await reader.readuntil(b"\n")
    if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
        raise Flaw(f"no line: {line!r}")
    return line[:-2]


Respond = Callable[[Seen, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bool]]
"""Answers one request; False ends the connection."""


@dataclass
class StrictPeer:
    """The script of an upstream. What it takes offence at is kept in `flaws`; `seen` is what it accepted.

    `early` requests are answered by `respond` before their body was read; all others after it.
    """

    respond: Respond
    early: Callable[[Seen], bool] = lambda _: False
    seen: list[Seen] = field(default_factory=list)
    flaws: list[str] = field(default_factory=list)

    def script(self, raw: RawUpstream) -> Script:
        async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while await self._serve_one(raw, reader, writer):
                    pass
            except Flaw as flaw:
                self.flaws.append(str(flaw))

        return follow

    async def _serve_one(self, raw: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        seen = parse_request(await raw.head(reader))
        check_request(seen)
        early = self.early(seen)
        if not early:
            if seen.one(b"expect") is not None:
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            seen.body = await read_body(reader, seen)
            if reader._buffer:  # type: ignore[attr-defined]
                raise Flaw(f"more than the request: {bytes(reader._buffer[:80])!r}")  # type: ignore[attr-defined]
        self.seen.append(seen)
        stays = await self.respond(seen, reader, writer)
        if stays and early:
            seen.body = await read_body(reader, seen)
        return stays


@dataclass
class Answer:
    """What a client makes of the bytes it got. `complete`: no strict client would take it for less than it is."""

    status: int
    fields: dict[bytes, list[bytes]]
    body: bytes
    complete: bool
    closes: bool
    informed: int = 0


async def read_answer(
    reader: asyncio.StreamReader, method: bytes, version: bytes = b"1.1", go_on: asyncio.Event | None = None
) -> Answer | None:
    """One answer, 1xx ones counted; None when the connection ended before it began. `go_on` is set by 100 Continue.

    Raises `Flaw`.
    """
    informed = 0
    while True:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None  # part of a head is no answer
        line, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
        match = _STATUS_LINE.fullmatch(line)
        if match is None:
            raise Flaw(f"no status line: {line!r}")
        if not match[1].startswith(b"1"):
            break
        if version != b"1.1" or not _is_interim(match[1], lines):
            raise Flaw(f"an unexpected interim answer: {head!r}")
        if match[1] != b"100":
            continue
        informed += 1
        if go_on is not None:
            go_on.set()
    fields = parse_fields(lines)
    closes = b"close" in fields.get(b"connection", [])
    for name in (b"content-length", b"transfer-encoding", b"x-request-id", b"connection"):
        if len(fields.get(name, [])) > 1:
            raise Flaw(f"{name!r} twice")
    if len(fields.get(b"x-request-id", [])) != 1:
        raise Flaw("no request id")
    body, complete = await _answer_body(reader, int(match[1]), fields, method, version)
    return Answer(int(match[1]), fields, body, complete, closes, informed)


def _is_interim(status: bytes, lines: list[bytes]) -> bool:
    """100 has no fields here; hints have none that frame a body, close the connection or name somebody."""
    if status == b"100":
        return not lines
    return status in (b"102", b"103") and _NOT_BESIDE_A_BODY.isdisjoint(parse_fields(lines))


async def _trailers(reader: asyncio.StreamReader) -> None:
    lines = []
    while line := await _line(reader):
        lines.append(line)
    if not _NOT_BESIDE_A_BODY.isdisjoint(parse_fields(lines)):
        raise Flaw(f"trailers {lines!r}")


async def _answer_body(
    reader: asyncio.StreamReader, status: int, fields: dict[bytes, list[bytes]], method: bytes, version: bytes
) -> tuple[bytes, bool]:
    if method == b"HEAD" or status in (204, 304):
        return b"", True
    parts: list[bytes] = []
    try:
        if b"transfer-encoding" in fields:
            if b"content-length" in fields or version != b"1.1":
                raise Flaw("framed in a way the client cannot know")
            while size := int(await _line(reader), 16):
                parts.append(await reader.readexactly(size))
                if await reader.readexactly(2) != b"\r\n":
                    raise Flaw("a chunk does not end where it says")
            await _trailers(reader)
        elif b"content-length" in fields:
            parts.append(await reader.readexactly(int(fields[b"content-length"][0])))
        elif b"close" not in fields.get(b"connection", []):
            raise Flaw("an answer without an end on a connection that stays")
        else:
            while piece := await reader.read(65536):
                parts.append(piece)
    except asyncio.IncompleteReadError as cut:
        return b"".join([*parts, cut.partial]), False
    except ConnectionError:
        return b"".join(parts), False
    return b"".join(parts), True
