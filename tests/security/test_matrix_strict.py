"""Requests of every kind against an upstream that accepts only flawless HTTP: right answers, and nothing is left."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from support.kinds import Kind, ask, kinds
from support.proxying import Setup, at_rest, proxied, quiet, upstream
from support.strict import Answer, Seen, StrictPeer

Write = Callable[[asyncio.StreamWriter, bytes, bytes], Awaitable[bool]]
"""Writes a status line and a body in one shape; whether the connection stays."""


async def counted(writer: asyncio.StreamWriter, start: bytes, body: bytes) -> bool:
    writer.write(start + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
    return True


async def counted_and_closed(writer: asyncio.StreamWriter, start: bytes, body: bytes) -> bool:
    writer.write(start + b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    return False


async def chunked(writer: asyncio.StreamWriter, start: bytes, body: bytes) -> bool:
    writer.write(start + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
    return True


async def with_trailers(writer: asyncio.StreamWriter, start: bytes, body: bytes) -> bool:
    end = b"0\r\nX-User-Id: evil\r\nX-Sum: 1\r\n\r\n"
    writer.write(start + b"Transfer-Encoding: chunked\r\n\r\n%x;a=b\r\n%b\r\n%b" % (len(body), body, end))
    return True


async def until_close(writer: asyncio.StreamWriter, start: bytes, body: bytes) -> bool:
    writer.write(start + b"\r\n" + body)
    return False


async def old(writer: asyncio.StreamWriter, start: bytes, body: bytes) -> bool:
    return await until_close(writer, start.replace(b"HTTP/1.1", b"HTTP/1.0"), body)


async def after_interim(writer: asyncio.StreamWriter, start: bytes, body: bytes) -> bool:
    writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n")
    return await counted(writer, start, body)


async def in_single_bytes(writer: asyncio.StreamWriter, start: bytes, body: bytes) -> bool:
    data = start + b"Transfer-Encoding: chunked\r\n\r\n"
    data += b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    for byte in data:
        writer.write(bytes([byte]))
        await asyncio.sleep(0)
    return True


async def events(writer: asyncio.StreamWriter, start: bytes, body: bytes) -> bool:
    writer.write(start + b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    await asyncio.sleep(0)
    writer.write(b"%x\r\n%b\r\n" % (len(body), body))
    await asyncio.sleep(0)
    writer.write(b"0\r\n\r\n")
    return True


SHAPES = (
    counted,
    counted_and_closed,
    chunked,
    with_trailers,
    until_close,
    old,
    after_interim,
    in_single_bytes,
    events,
)


def echo(seen: Seen) -> bytes:
    """Tells a request from every other."""
    return b"%b %b %d" % (seen.method, seen.target, len(seen.body))


def peer(shape: Write) -> StrictPeer:
    async def respond(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        if b"if-none-match" in seen.fields:
            writer.write(b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\nContent-Length: 1234\r\n\r\n')
            return True
        if seen.method == b"HEAD":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n")
            return True
        return await shape(writer, b"HTTP/1.1 200 OK\r\nServer: strict\r\n", echo(seen))

    return StrictPeer(respond)


@pytest.mark.parametrize("shape", SHAPES)
async def test_every_kind_of_request_gets_the_right_answer(shape: Write) -> None:
    strict = peer(shape)
    before_all = descriptors()
    async with quiet(), upstream(strict.script) as up, proxied(up.port) as gateway:
        for kind in kinds("x"):
            before = len(strict.seen)
            answers, rest = await ask(gateway.port, kind)
            assert strict.flaws == [], kind.name
            assert rest == b"", kind.name
            check(kind, answers, strict.seen[before:])
            await at_rest(gateway)
        assert gateway.notes.events == []
        logged = [entry[2] for entry in gateway.notes.requests]
    assert 499 not in logged
    assert 500 not in logged
    assert descriptors() <= before_all


def descriptors() -> int:
    """How many files and sockets this process has open, where the system tells."""
    listing = Path("/proc/self/fd")
    return len(list(listing.iterdir())) if listing.is_dir() else 0


def check(kind: Kind, answers: list[Answer | None], seen: list[Seen]) -> None:
    """The answers are those to the requests of this kind, in order, and the upstream got what was sent."""
    own = answers[: len(kind.bodies)]
    assert all(answer is not None and answer.complete for answer in answers), kind.name
    if kind.refused:
        assert [answer.status for answer in own if answer] == [kind.refused], kind.name
        assert seen == [], kind.name
    else:
        assert [each.body for each in seen] == list(kind.bodies), kind.name
        for answer, each in zip(own, seen, strict=True):
            assert answer is not None
            bodyless = kind.method == b"HEAD" or answer.status == 304
            assert (answer.status, answer.body) == (
                304 if answer.status == 304 else 200,
                b"" if bodyless else echo(each),
            )
            assert (answer.status == 304) == (kind.name == "conditional"), kind.name
            if bodyless:
                assert answer.fields[b"content-length"] == [b"1234"], kind.name
    if kind.closes:
        assert len(answers) == len(own), kind.name
        assert own[-1] is not None
        assert own[-1].closes, kind.name
    elif kind.closes is False and kind.version == b"1.1":
        assert len(answers) == len(own) + 1, kind.name
        assert answers[-1] is not None
        assert answers[-1].status == 404, kind.name


async def test_kinds_at_the_same_time_do_not_mix() -> None:
    strict = peer(chunked)
    async with quiet(), upstream(strict.script) as up, proxied(up.port) as gateway:
        rounds = [(kind, kinds(f"x{number}")[at]) for number in range(3) for at, kind in enumerate(kinds("x"))]
        found = await asyncio.gather(*(one_of_many(gateway, kind, strict) for _, kind in rounds))
        assert strict.flaws == []
        await at_rest(gateway)
    assert len(found) == len(rounds)


async def one_of_many(gateway: Setup, kind: Kind, strict: StrictPeer) -> None:
    answers, rest = await ask(gateway.port, kind)
    assert rest == b"", kind.name
    for answer, body in zip(answers, kind.bodies, strict=False):
        assert answer is not None
        assert answer.complete, kind.name
        if answer.status == 200 and kind.method != b"HEAD":
            _, target, size = answer.body.split(b" ")
            assert target in kind.pieces[0] or len(kind.pieces[0]) <= 40, kind.name
            assert int(size) == len(body), kind.name
