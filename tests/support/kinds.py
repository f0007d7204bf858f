"""Requests of every kind, as a table: their bytes, the pieces they come in, and what must come of them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from support.proxying import TOKEN, hang_up, read_all
from support.strict import Answer, read_answer

_NOISE = (
    b"X_User_Id: evil\r\nx-user-roles: admin\r\nConnection: X-Hop\r\nX-Hop: 1\r\nTE: trailers\r\nKeep-Alive: 5\r\n"
    b"X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: gopher\r\nX-Request-Id: theirs\r\n"
    b"Cookie: a=1; __Host-gw_refresh=secret\r\n"
)
"""What no upstream must see goes with every request."""
LARGE = bytes(range(256)) * 1200


@dataclass(frozen=True)
class Kind:
    """One kind of request. `pieces` are written one by one; `refused` is the status the gateway answers by itself.

    `bodies` are what the upstream must have got, one for each request in `pieces`. `waits`: a piece is sent only when
    100 Continue or an answer came. `closes` is None where it depends on how the pieces arrive.
    """

    name: str
    pieces: tuple[bytes, ...]
    method: bytes = b"GET"
    bodies: tuple[bytes, ...] = (b"",)
    refused: int = 0
    version: bytes = b"1.1"
    closes: bool | None = False
    waits: bool = False


def head(
    target: str,
    *lines: str,
    method: str = "GET",
    version: str = "1.1",
    credentials: str | None = f"Bearer {TOKEN.decode()}",
) -> bytes:
    """A request head with noise in it."""
    made = f"{method} {target} HTTP/{version}\r\nHost: gateway.test\r\n".encode()
    if credentials is not None:
        made += f"Authorization: {credentials}\r\n".encode()
    return made + _NOISE + "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n"


def chunks(*parts: bytes) -> bytes:
    """A chunked body."""
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def kinds(target: str) -> tuple[Kind, ...]:
    """All kinds, asking for `target` below the routes of `support.proxying.routes_to`."""
    api, public, optional = (f"/{route}/{target}" for route in ("api", "public", "optional"))
    post = head(api, "Content-Length: 5", method="POST")
    chunked = head(api, "Transfer-Encoding: chunked", method="POST")
    counted_large = head(api, f"Content-Length: {len(LARGE)}", method="PUT")
    waiting = head(api, "Content-Length: 5", "Expect: 100-continue", method="POST")
    old, bad = "1.0", "Bearer forged"
    return (
        Kind("GET", (head(api),)),
        Kind("GET with a query", (head(api + "?a=/../%2e&b=%00//;x"),)),
        Kind("absolute form", (head("http://gateway.test" + api),)),
        Kind("GET in single bytes", tuple(bytes([byte]) for byte in head(api))),
        Kind("GET in two pieces", (head(api)[:40], head(api)[40:])),
        Kind("GET, close", (head(api, "Connection: close"),), closes=True),
        Kind("GET of HTTP/1.0", (head(api, version=old),), version=b"1.0", closes=True),
        Kind("GET of HTTP/1.0, kept", (head(api, "Connection: keep-alive", version=old),), version=b"1.0"),
        Kind("HEAD", (head(api, method="HEAD"),), b"HEAD"),
        Kind("HEAD, close", (head(api, "Connection: close", method="HEAD"),), b"HEAD", closes=True),
        Kind("OPTIONS", (head(api, method="OPTIONS"),), b"OPTIONS"),
        Kind("DELETE", (head(api, method="DELETE"),), b"DELETE"),
        Kind("conditional", (head(api, 'If-None-Match: "x"', "If-Modified-Since: Sat, 01 Jan 2000 00:00:00 GMT"),)),
        Kind("range", (head(api, "Range: bytes=0-1"),)),
        Kind("events", (head(api, "Accept: text/event-stream"),)),
        Kind("GET with a body", (head(api, "Content-Length: 2") + b"ab",), bodies=(b"ab",)),
        Kind("POST, counted", (post + b"hello",), b"POST", (b"hello",)),
        Kind("POST, empty", (head(api, "Content-Length: 0", method="POST"),), b"POST"),
        Kind("POST without framing", (head(api, method="POST"),), b"POST"),
        Kind("POST, body late", (post, b"hel", b"lo"), b"POST", (b"hello",)),
        Kind("POST, body in single bytes", (post, *(bytes([byte]) for byte in b"hello")), b"POST", (b"hello",)),
        Kind("POST, chunked", (chunked + chunks(b"hel", b"lo"),), b"POST", (b"hello",)),
        Kind("POST, chunked, empty", (chunked + chunks(),), b"POST"),
        Kind("POST, chunked, late", (chunked, b"3\r\nhel\r\n", b"2\r\nlo\r\n0\r\n\r\n"), b"POST", (b"hello",)),
        Kind(
            "POST, chunked, in single bytes",
            (chunked, *(bytes([byte]) for byte in chunks(b"hel", b"lo"))),
            b"POST",
            (b"hello",),
            closes=None,  # nothing is read behind a chunked body that does not end in one piece
        ),
        Kind(
            "POST with trailers",
            (chunked + b"1\r\na\r\n0\r\nX-User-Id: evil\r\n\r\n",),
            b"POST",
            (b"a",),
            closes=True,
        ),
        Kind("POST of HTTP/1.0", (post.replace(b"/1.1", b"/1.0") + b"hello",), b"POST", (b"hello",), 0, b"1.0", True),
        Kind("PUT, large", (counted_large + LARGE,), b"PUT", (LARGE,)),
        Kind("PUT, large, late", (counted_large, *(LARGE[at : at + 50_000] for at in range(0, len(LARGE), 50_000))),
             b"PUT", (LARGE,)),
        Kind("Expect", (waiting, b"hello"), b"POST", (b"hello",), waits=True),
        Kind("Expect, not waited for", (waiting + b"hello",), b"POST", (b"hello",)),
        Kind("pipelined pair", (head(api) + head(api),), bodies=(b"", b"")),
        Kind("pipelined pair with bodies", ((post + b"hello") * 2,), b"POST", (b"hello", b"hello")),
        Kind("pipelined five", (head(api) * 5,), bodies=(b"",) * 5),
        Kind("public", (head(public + "/anonymous", credentials=None),)),
        Kind("public with a token", (head(public + "/anonymous"),)),
        Kind("public with other credentials", (head(public + "/anonymous", credentials="Basic YTpi"),)),
        Kind("optional", (head(optional),)),
        Kind("optional without a token", (head(optional + "/anonymous", credentials=None),)),
        Kind("optional with a bad token", (head(optional, credentials=bad),), refused=401),
        Kind("no token", (head(api, credentials=None),), refused=401),
        Kind("bad token", (head(api, credentials=bad),), refused=401),
        Kind("no token, HEAD", (head(api, method="HEAD", credentials=None),), b"HEAD", refused=401),
        Kind("bad token, body", (head(api, "Content-Length: 2", method="POST", credentials=bad) + b"ab",), refused=401),
        Kind(
            "bad token, body late",
            (head(api, "Content-Length: 2", method="POST", credentials=bad), b"ab"),
            refused=401,
            closes=None,
        ),
        Kind("no route", (head("/nowhere"),), refused=404),
        Kind("two readings", (head(api + "/%2e%2e/x"),), refused=400, closes=True),
        Kind("Upgrade to nothing known", (head(api, "Connection: upgrade", "Upgrade: h2c"),), closes=True),
    )  # fmt: skip


async def ask(port: int, kind: Kind) -> tuple[list[Answer | None], bytes]:
    """Send a request of this kind; its answers, and what came behind them until the connection ended.

    A connection that may stay is used once more, by a request that makes the gateway close it: the last answer.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    go_on = asyncio.Event()
    reading = asyncio.ensure_future(_answers(reader, kind, go_on))
    try:
        async with asyncio.timeout(10):
            await _send(writer, kind, reading, go_on)
            answers = await reading
            last = answers[-1]
            if last is not None and last.complete and not last.closes:
                writer.write(b"GET /nowhere HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\n\r\n")
                answers.append(await read_answer(reader, b"GET"))
            return answers, await read_all(reader)
    finally:
        reading.cancel()
        await hang_up(writer)


async def _answers(reader: asyncio.StreamReader, kind: Kind, go_on: asyncio.Event) -> list[Answer | None]:
    answers: list[Answer | None] = []
    for _ in kind.bodies:
        last = await read_answer(reader, kind.method, kind.version, go_on)
        answers.append(last)
        if last is None or not last.complete or last.closes:
            break
    return answers


async def _send(
    writer: asyncio.StreamWriter, kind: Kind, reading: asyncio.Future[list[Answer | None]], go_on: asyncio.Event
) -> None:
    for number, piece in enumerate(kind.pieces):
        if number and kind.waits:
            waiting = asyncio.ensure_future(go_on.wait())
            await asyncio.wait({waiting, reading}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
        if reading.done():
            return
        writer.write(piece)
        if number < len(kind.pieces) - 1:
            await asyncio.sleep(0)  # lets the pieces arrive one by one
        try:
            await writer.drain()
        except ConnectionError:
            return
