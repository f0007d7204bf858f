"""The chunked coding is read strictly."""

from __future__ import annotations

import pytest

from gateway.errors import BadGateway
from gateway.proxy.chunks import ChunkDecoder


def test_a_whole_body_in_one_read() -> None:
    decoder = ChunkDecoder()
    assert decoder.feed(b"2\r\nok\r\n3;a=b\r\nyes\r\n0\r\nX-Sum: 1 \r\nx-other:\r\n\r\nrest") == b"okyes"
    assert (decoder.done, decoder.trailers, decoder.rest) == (True, ((b"X-Sum", b"1"), (b"x-other", b"")), b"rest")
    decoder.start()
    assert decoder.feed(b"0\r\n\r\n") == b""
    assert (decoder.done, decoder.trailers, decoder.rest) == (True, (), b"")


def test_parts_of_a_large_chunk_pass_as_they_come_without_a_copy() -> None:
    decoder = ChunkDecoder()
    assert decoder.feed(b"30000\r\nabc") == b"abc"
    piece = b"x" * 65536
    assert decoder.feed(piece) is piece
    assert decoder.feed(piece) is piece
    assert decoder.feed(piece[:-3]) == piece[:-3]
    assert decoder.feed(b"\r") == b""
    assert decoder.feed(b"\n0\r\n\r") == b""
    assert not decoder.done
    decoder.feed(b"\n")
    assert decoder.done


@pytest.mark.parametrize(
    "body",
    [
        b"zz\r\n",
        b"z",
        b"+2\r\nok",
        b"-1\r\n",
        b"0x2\r\nok",
        b"2_0\r\n",
        b" 2\r\nok\r\n",
        b"2 \r\nok\r\n",
        b"2\t;a\r\nok\r\n",
        b"\r\nok",
        b";a=b\r\n",
        b"2\nok\r\n0\r\n\r\n",
        b"2\rok\r\n",
        b"2\r\r\nok\r\n",
        b"2\r\nokk\r\n0\r\n\r\n",
        b"2\r\nok\n0\r\n\r\n",
        b"2\r\nok\r0\r\n\r\n",
        b"2\r\nok0\r\n\r\n",
        b"0" * 17 + b"\r\n\r\n",
        b"f" * 17,
        b"2;" + b"x" * 257 + b"\r\nok\r\n0\r\n\r\n",
        b"2;" + b"x" * 300,
        b"2;a=\x00\r\nok\r\n",
        b"2;a=\n\r\nok\r\n",
        "\u0662\r\n".encode(),
        b"0\r\nno colon\r\n\r\n",
        b"0\r\n: nameless\r\n\r\n",
        b"0\r\nA : b\r\n\r\n",
        b"0\r\nA: b\r\n folded\r\n\r\n",
        b"0\r\nA: b\nC: d\r\n\r\n",
        b"0\r\nA: \x00\r\n\r\n",
        b"0\r\nA: " + b"x" * 9000 + b"\r\n\r\n",
        b"0\r\n" + b"A: b\r\n" * 65 + b"\r\n",
        b"0\r\n" + b"A: b\r\n" * 3000,
    ],
)
def test_what_is_refused_whole_and_byte_by_byte(body: bytes) -> None:
    with pytest.raises(BadGateway):
        ChunkDecoder().feed(body)
    decoder = ChunkDecoder()
    with pytest.raises(BadGateway):
        for at in range(len(body)):
            decoder.feed(body[at : at + 1])
    assert not decoder.done


@pytest.mark.parametrize(
    "body", [b"2\r\nok", b"2\r\nok\r\n0\r\n", b"2\r\nok\r\n0\r\n\r", b"0\r\nA: b\r\n", b"5\r\nok\r\n"]
)
def test_what_is_no_end(body: bytes) -> None:
    decoder = ChunkDecoder()
    decoder.feed(body)
    assert not decoder.done
