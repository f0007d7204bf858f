"""The chunked coding of answers (RFC 9112 7.1), strictly: bytes in, payload out, no I/O."""

from __future__ import annotations

import re
from typing import Final

from gateway.errors import BadGateway

Fields = tuple[tuple[bytes, bytes], ...]

_CRLF: Final = b"\r\n"
_END: Final = b"\r\n\r\n"
_HEX: Final = b"0123456789abcdefABCDEF"
_MAX_DIGITS: Final = 16
_MAX_EXTENSION: Final = 256
_MAX_SIZE_LINE: Final = _MAX_DIGITS + _MAX_EXTENSION
_MAX_TRAILERS: Final = 8 * 1024
_MAX_TRAILER_FIELDS: Final = 64
_CONTROLS: Final = bytes([*range(0x09), *range(0x0A, 0x20), 0x7F])
_NAME: Final = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_LONGEST_REMEMBERED: Final = 5
_MAX_REMEMBERED: Final = 1024
# Size lines that were found good: most answers say the same few.
_REMEMBERED: Final[dict[bytes, int]] = {}
# What the bytes that come next are.
_SIZE: Final = 0
_PAYLOAD: Final = 1
_CHUNK_END: Final = 2
_TRAILERS: Final = 3


class ChunkDecoder:
    """One body after the other: `feed` until `done`, then `start` again.

    `trailers` are the fields behind the last chunk, `rest` the bytes that came behind the body; both are known once it
    is done. Framing that allows a second reading raises `BadGateway`: sizes of more than 16 digits or with anything but
    digits, bare CR or LF, extensions (which are dropped) and trailers without bound.
    """

    __slots__ = ("_left", "_next", "_partial", "done", "rest", "trailers")

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """A new body begins."""
        self._next = _SIZE
        self._left = 0
        self._partial = b""
        self.done = False
        self.rest = b""
        self.trailers: Fields = ()

    def feed(self, data: bytes) -> bytes:
        """The payload in `data`, b"" possible. Raises `BadGateway`."""
        if self._next == _PAYLOAD and len(data) <= self._left:
            # A part of a large chunk: not even copied.
            self._left -= len(data)
            if not self._left:
                self._next = _CHUNK_END
            return data
        if self._partial:
            data = self._partial + data
            self._partial = b""
        pieces: list[bytes] = []
        at = self._begun(data, pieces)
        if self._next == _SIZE:
            at = self._chunks(data, at, pieces)
        if self._next == _TRAILERS:
            self._end(data, at)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _begun(self, data: bytes, pieces: list[bytes]) -> int:
        """Go to the end of a chunk that began earlier; returns where that is."""
        at = 0
        if self._next == _PAYLOAD:
            at = self._left
            pieces.append(data[:at])
            self._next = _CHUNK_END
        if self._next == _CHUNK_END:
            end = data[at : at + 2]
            if end == _CRLF:
                self._next = _SIZE
                return at + 2
            self._hold_chunk_end(end)
        return at

    def _hold_chunk_end(self, begun: bytes) -> None:
        if begun not in (b"", b"\r"):
            raise BadGateway(debug="a chunk of the upstream is longer than it says")
        self._next = _CHUNK_END
        self._partial = begun

    def _chunks(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        """Read chunks while they are whole; returns where it stopped."""
        find = data.find
        sizes = _REMEMBERED
        total = len(data)
        while True:
            line_end = find(_CRLF, at, at + _MAX_SIZE_LINE + 2)
            if line_end < 0:
                self._hold_size(data[at : at + _MAX_SIZE_LINE + 2])
                return total
            line = data[at:line_end]
            size = sizes[line] if line in sizes else _size(line)
            at = line_end + 2
            if not size:
                self._next = _TRAILERS
                return at
            end = at + size
            if end >= total:
                if at < total:
                    pieces.append(data[at:])
                self._left = end - total
                self._next = _PAYLOAD if self._left else _CHUNK_END
                return total
            pieces.append(data[at:end])
            at = end + 2
            if data[end:at] != _CRLF:
                self._hold_chunk_end(data[end:at])
                return total

    def _hold_size(self, begun: bytes) -> None:
        """Keep part of a size line, if it can become one."""
        line = begun.removesuffix(b"\r")
        if line:
            _size(line)
        self._partial = begun

    def _end(self, data: bytes, at: int) -> None:
        """Read the trailers and the end behind them."""
        if data.startswith(_CRLF, at):
            self.rest = data[at + 2 :]
            self.done = True
            return
        end = data.find(_END, at, at + _MAX_TRAILERS)
        if end < 0:
            if len(data) - at >= _MAX_TRAILERS:
                raise BadGateway(debug="the upstream's trailers have no end")
            self._partial = data[at:]
            return
        self.trailers = _fields(data[at:end])
        self.rest = data[end + 4 :]
        self.done = True


def _size(line: bytes) -> int:
    digits, semicolon, extension = line.partition(b";") if b";" in line else (line, b"", b"")
    if not digits or len(digits) > _MAX_DIGITS or digits.translate(None, _HEX):
        raise BadGateway(debug="a chunk size of the upstream is no number")
    if semicolon and (len(extension) > _MAX_EXTENSION or len(extension.translate(None, _CONTROLS)) != len(extension)):
        raise BadGateway(debug="a chunk extension of the upstream is malformed")
    size = int(digits, 16)
    if len(line) <= _LONGEST_REMEMBERED and len(_REMEMBERED) < _MAX_REMEMBERED:
        _REMEMBERED[line] = size
    return size


def _fields(section: bytes) -> Fields:
    lines = section.split(_CRLF)
    if len(lines) > _MAX_TRAILER_FIELDS:
        raise BadGateway(debug="the upstream's trailers are too many")
    fields = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or _NAME.fullmatch(name) is None or len(value.translate(None, _CONTROLS)) != len(value):
            raise BadGateway(debug="a trailer of the upstream is malformed")
        fields.append((name, value.strip(b" \t")))
    return tuple(fields)
