"""Upstreams that misbehave, as a table: what each does after a flawless request, and what may come of it."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from support.proxying import read_all
from support.strict import Seen

Act = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bool]]
"""Misbehaves; whether the connection stays open for another request."""
START = b"HTTP/1.1 200 OK\r\n"
CHUNKED = START + b"Transfer-Encoding: chunked\r\n\r\n"
POISON = START + b"X-Poison: 1\r\nContent-Length: 6\r\n\r\npoison"
"""Nothing of this may ever reach a client."""
ERROR, TORN, RIGHT = "error", "torn", "right"


@dataclass(frozen=True)
class Hostile:
    """One way to misbehave. `bodies` are those of answers a client may take for complete ones.

    `early`: before the request was read. `condemned`: the connection breaks once the answer was given.
    """

    name: str
    act: Act
    outcomes: frozenset[str] = frozenset({ERROR})
    bodies: tuple[bytes, ...] = ()
    early: bool = False
    condemned: bool = False

    def __str__(self) -> str:
        return self.name


def says(data: bytes) -> Act:
    """Send bytes and go on as if they had been right."""

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(data)
        return True

    return act


def says_and_closes(data: bytes) -> Act:
    """Send bytes, then FIN."""

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(data)
        return False

    return act


def says_and_resets(data: bytes) -> Act:
    """Send bytes, then RST."""

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        if data:
            writer.write(data)
            await asyncio.sleep(0)
        reset(writer)
        return False

    return act


def in_pieces(*pieces: bytes, close: bool = False) -> Act:
    """Send pieces that the loop of the gateway sees one by one."""

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        for piece in pieces:
            writer.write(piece)
            for _ in range(4):
                await asyncio.sleep(0)
        if not close:
            await read_all(reader)
        return False

    return act


def for_ever(first: bytes, again: bytes) -> Act:
    """Never stop sending."""

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(first)
        while not writer.is_closing():
            writer.write(again)
            await writer.drain()
            await asyncio.sleep(0.001)
        return False

    return act


async def poisons_later(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Answer rightly, and once more when the answer was surely used."""
    writer.write(START + b"Content-Length: 2\r\n\r\nok")
    for _ in range(4):
        await asyncio.sleep(0)
    writer.write(POISON)
    await read_all(reader)
    return False


async def half_closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Answer rightly, send FIN, and stay."""
    writer.write(START + b"Content-Length: 2\r\n\r\nok")
    writer.write_eof()
    await read_all(reader)
    return False


def reset(writer: asyncio.StreamWriter) -> None:
    """RST."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _errors(**answers: bytes) -> list[Hostile]:
    return [Hostile(name.replace("_", " "), says(answer)) for name, answer in answers.items()]


def _counted(*lines: bytes, start: bytes = START) -> bytes:
    return start + b"".join(line + b"\r\n" for line in lines) + b"\r\npoison"


TORN_OR_ERROR = frozenset({TORN, ERROR})
HALF = START + b"Content-Length: 20\r\n\r\nhalf"

MALFORMED = _errors(
    two_lengths=_counted(b"Content-Length: 6", b"Content-Length: 5"),
    two_equal_lengths=_counted(b"Content-Length: 6", b"Content-Length: 6"),
    a_list_of_lengths=_counted(b"Content-Length: 6, 6"),
    a_length_with_plus=_counted(b"Content-Length: +6"),
    a_negative_length=_counted(b"Content-Length: -6"),
    a_hexadecimal_length=_counted(b"Content-Length: 0x6"),
    an_empty_length=_counted(b"Content-Length: "),
    a_length_beyond_64_bits=_counted(b"Content-Length: 18446744073709551622"),
    a_length_of_5000_digits=_counted(b"Content-Length: " + b"0" * 5000 + b"6"),
    a_folded_length=_counted(b"Content-Length: 6\r\n 0"),
    a_space_before_the_colon=_counted(b"Content-Length : 6"),
    length_and_coding=_counted(b"Content-Length: 6", b"Transfer-Encoding: chunked"),
    coding_and_length=_counted(b"Transfer-Encoding: chunked", b"Content-Length: 6"),
    two_codings=_counted(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    a_coding_besides_chunked=_counted(b"Transfer-Encoding: gzip, chunked"),
    chunked_not_last=_counted(b"Transfer-Encoding: chunked, gzip"),
    identity_coding=_counted(b"Transfer-Encoding: identity"),
    a_coding_with_a_parameter=_counted(b"Transfer-Encoding: chunked;a=b"),
    a_coding_behind_vertical_tab=_counted(b"Transfer-Encoding: \x0bchunked"),
    chunks_over_1_0=_counted(b"Transfer-Encoding: chunked", start=b"HTTP/1.0 200 OK\r\n"),
    a_bad_first_chunk_size=CHUNKED + b"zz\r\npoison",
    an_empty_chunk_size=CHUNKED + b"\r\npoison\r\n0\r\n\r\n",
    a_negative_chunk_size=CHUNKED + b"-6\r\npoison\r\n0\r\n\r\n",
    a_chunk_size_with_prefix=CHUNKED + b"0x6\r\npoison\r\n0\r\n\r\n",
    a_chunk_size_with_plus=CHUNKED + b"+6\r\npoison\r\n0\r\n\r\n",
    a_chunk_size_beyond_64_bits=CHUNKED + b"1" + b"0" * 16 + b"6\r\npoison\r\n0\r\n\r\n",
    a_chunk_size_behind_a_space=CHUNKED + b" 6\r\npoison\r\n0\r\n\r\n",
    chunks_of_bare_lines=CHUNKED + b"6\npoison\n0\n\n",
    a_chunk_longer_than_it_says=CHUNKED + b"2\r\npoison\r\n0\r\n\r\n",
    a_return_in_the_reason=_counted(b"Content-Length: 6", start=b"HTTP/1.1 200 O\rK\r\n"),
    nul_in_the_reason=_counted(b"Content-Length: 6", start=b"HTTP/1.1 200 O\x00K\r\n"),
    nul_in_a_value=_counted(b"X-A: a\x00b", b"Content-Length: 6"),
    nul_in_a_name=_counted(b"X-\x00A: ab", b"Content-Length: 6"),
    a_return_in_a_value=_counted(b"X-A: a\rX-Poison: b", b"Content-Length: 6"),
    a_control_character_in_a_value=_counted(b"X-A: a\x01b", b"Content-Length: 6"),
    a_name_with_a_space=_counted(b"X A: b", b"Content-Length: 6"),
    an_empty_name=_counted(b": b", b"Content-Length: 6"),
    a_line_without_a_colon=_counted(b"poison", b"Content-Length: 6"),
    bare_lines=START.replace(b"\r", b"") + b"Content-Length: 6\n\npoison",
    an_early_end_of_the_head=START + b"X-A: b\n\nX-Poison: 1\r\nContent-Length: 0\r\n\r\n",
    unsolicited_101=b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n" + POISON,
    bare_101=b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + POISON,
    a_body_on_204=b"HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\npoison",
    chunks_on_204=b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n6\r\npoison\r\n0\r\n\r\n",
    an_undeclared_body_on_204=b"HTTP/1.1 204 No Content\r\n\r\npoison",
    a_body_on_304=b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\nContent-Length: 6\r\n\r\npoison',
    a_body_on_103=b"HTTP/1.1 103 Early Hints\r\nContent-Length: 6\r\n\r\npoison" + POISON,
    a_status_below_100=_counted(b"Content-Length: 6", start=b"HTTP/1.1 99 Low\r\n"),
    a_status_of_four_digits=_counted(b"Content-Length: 6", start=b"HTTP/1.1 2000 High\r\n"),
    a_status_with_a_sign=_counted(b"Content-Length: 6", start=b"HTTP/1.1 +20 OK\r\n"),
    http_0_9=b"<html>poison</html>\r\n\r\n",
    http_2=_counted(b"Content-Length: 6", start=b"HTTP/2.0 200 OK\r\n"),
    http_1_2=_counted(b"Content-Length: 6", start=b"HTTP/1.2 200 OK\r\n"),
    lower_case_http=_counted(b"Content-Length: 6", start=b"http/1.1 200 OK\r\n"),
    an_http_2_preface=b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\npoison",
    http_2_settings=b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x80poison",
    tls=b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03poison",
    a_request=b"GET /poison HTTP/1.1\r\nHost: gateway.test\r\n\r\n",
    another_protocol=b"SSH-2.0-OpenSSH_9.2\r\npoison",
    empty_lines_first=b"\r\n\r\n" + POISON,
    garbage=bytes(range(256)) * 8 + b"poison",
    a_huge_header=START + b"X-A: " + b"a" * 70_000 + b"\r\nContent-Length: 6\r\n\r\npoison",
    a_head_just_over_the_limit=START + b"X-A: " + b"a" * 65_536 + b"\r\nContent-Length: 6\r\n\r\npoison",
    many_headers=START + b"".join(b"X-%d: a\r\n" % n for n in range(400)) + b"Content-Length: 6\r\n\r\npoison",
    large_headers=START + b"".join(b"X-%d: %b\r\n" % (n, b"a" * 4000) for n in range(40)) + b"\r\npoison",
    an_endless_first_line=b"HTTP/1.1 200 " + b"poison" * 12_000,
    an_answer_and_another=START + b"Content-Length: 2\r\n\r\nok" + POISON,
    an_answer_and_garbage=START + b"Content-Length: 2\r\n\r\nokpoison",
    chunks_and_another=CHUNKED + b"2\r\nok\r\n0\r\n\r\n" + POISON,
    no_length_0_and_another=START + b"Content-Length: 0\r\n\r\n" + POISON,
)

BROKEN = [
    Hostile("closes without a word", says_and_closes(b"")),
    Hostile("resets without a word", says_and_resets(b"")),
    Hostile("closes in the status line", says_and_closes(b"HTTP/1.1 20")),
    Hostile("closes in the head", says_and_closes(START + b"Content-Le")),
    Hostile("closes before the empty line", says_and_closes(START + b"Content-Length: 2\r\n")),
    Hostile("resets in the head", says_and_resets(START + b"Content-Le")),
    Hostile("closes after 100", says_and_closes(b"HTTP/1.1 103 Early Hints\r\n\r\n")),
    Hostile("closes in a counted body", says_and_closes(HALF), TORN_OR_ERROR),
    Hostile("resets in a counted body", says_and_resets(HALF), TORN_OR_ERROR),
    Hostile("closes in a chunk size", says_and_closes(CHUNKED + b"4\r\nhalf\r\n4"), TORN_OR_ERROR),
    Hostile("closes in a chunk", says_and_closes(CHUNKED + b"8\r\nhalf"), TORN_OR_ERROR),
    Hostile("closes behind a chunk", says_and_closes(CHUNKED + b"4\r\nhalf\r\n"), TORN_OR_ERROR),
    Hostile("closes in the last chunk", says_and_closes(CHUNKED + b"4\r\nhalf\r\n0\r\n"), TORN_OR_ERROR),
    Hostile("closes in the trailers", says_and_closes(CHUNKED + b"4\r\nhalf\r\n0\r\nX-A: b\r\n"), TORN_OR_ERROR),
    Hostile("resets behind a chunk", says_and_resets(CHUNKED + b"4\r\nhalf\r\n"), TORN_OR_ERROR),
    Hostile("resets in an endless body", says_and_resets(START + b"\r\nhalf"), TORN_OR_ERROR),
    Hostile("a bad chunk in the middle", in_pieces(CHUNKED + b"4\r\nhalf\r\n", b"zz\r\npoison"), TORN_OR_ERROR),
    Hostile("a long chunk in the middle", in_pieces(CHUNKED + b"4\r\nhalf\r\n", b"2\r\npoison\r\n"), TORN_OR_ERROR),
    Hostile("a bare line in the chunks", in_pieces(CHUNKED + b"4\r\nhalf\r\n", b"6\npoison\n"), TORN_OR_ERROR),
    Hostile("bad trailers", in_pieces(CHUNKED + b"4\r\nhalf\r\n", b"0\r\npoison\x00\r\n\r\n"), TORN_OR_ERROR),
    Hostile("more than it said", in_pieces(START + b"Content-Length: 6\r\n\r\nhalf", b"okpoison"), TORN_OR_ERROR),
    Hostile("chunks, then another", in_pieces(CHUNKED + b"4\r\nhalf\r\n", b"0\r\n\r\n" + POISON), TORN_OR_ERROR),
]

OK = b"Content-Length: 2\r\n\r\nok"
SERVED, MAYBE, ANY = frozenset({RIGHT}), frozenset({RIGHT, ERROR}), frozenset({RIGHT, ERROR, TORN})
REFUSAL = b"HTTP/1.1 413 Too Large\r\n"


def _odd(
    name: str, act: Act, outcomes: frozenset[str] = SERVED, *, early: bool = False, condemned: bool = False
) -> Hostile:
    return Hostile(name, act, outcomes, (b"ok",), early, condemned)


ODD = [
    _odd("a folded value", says(START + b"X-A: a\r\n b\r\n" + OK), MAYBE),
    _odd("bare line ends", says(START + b"X-A: a\n" + OK), MAYBE),
    _odd("a bare line end in the reason", says(b"HTTP/1.1 200 O\nX-A: K\r\n" + OK), MAYBE),
    _odd("an Upgrade on 200", says(START + b"Connection: upgrade\r\nUpgrade: poison\r\n" + OK), MAYBE),
    _odd("many interim answers", says(b"HTTP/1.1 100 Continue\r\n\r\n" * 500 + START + OK), MAYBE),
    _odd("another answer later", poisons_later, condemned=True),
    _odd("FIN behind the answer", half_closes, condemned=True),
    _odd("RST behind the answer", says_and_resets(START + OK), ANY, condemned=True),
    _odd("an early refusal", says(REFUSAL + OK), early=True),
    _odd("an early refusal, closed", says_and_closes(REFUSAL + b"Connection: close\r\n" + OK), ANY, early=True),
    Hostile("an early half", says_and_closes(HALF), TORN_OR_ERROR, early=True),
    Hostile("an early reset", says_and_resets(b""), early=True),
    Hostile("early garbage", says(b"\x00poison\r\n\r\n"), early=True),
    Hostile("an early answer and another", says(START + OK + POISON), early=True),
]

SLOW = [
    Hostile("says nothing", says(b"")),
    Hostile("reads nothing and says nothing", says(b""), early=True),
    Hostile("stops in the head", says(START + b"Content-")),
    Hostile("stops in a counted body", says(HALF), TORN_OR_ERROR),
    Hostile("stops behind a chunk", says(CHUNKED + b"4\r\nhalf\r\n"), TORN_OR_ERROR),
    Hostile("stops in an endless body", says(START + b"\r\nhalf"), TORN_OR_ERROR),
    Hostile("a flood of interim answers", for_ever(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 20)),
    Hostile("a head in drops", for_ever(START + b"X-A: ", b"a")),
    Hostile("headers without end", for_ever(START, b"X-A: b\r\n" * 10)),
]


async def well(seen: Seen, writer: asyncio.StreamWriter) -> bool:
    """What even these do for an honest request: say back what it was."""
    writer.write(START + b"Content-Length: %d\r\n\r\n%b" % (len(seen.target), seen.target))
    return True
