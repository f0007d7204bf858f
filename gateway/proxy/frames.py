"""WebSocket frames, as little of them as a tunnel needs: where one ends, and how to write the one that closes."""

from __future__ import annotations

from typing import Final

_CLOSE: Final = 0x8
_LENGTH_BYTES: Final = {126: 2, 127: 8}


def close_frame(code: int, reason: bytes) -> bytes:
    """A Close frame as a server sends it; `reason` is at most 123 bytes."""
    return bytes((0x80 | _CLOSE, 2 + len(reason))) + code.to_bytes(2, "big") + reason


class FrameBoundaries:
    """Follows a stream of frames chunk by chunk without reading or keeping their payloads. Nothing is policed."""

    __slots__ = ("_header", "_left", "closed")

    def __init__(self) -> None:
        self._left = 0
        self._header = b""
        self.closed = False
        """Whether the sender began a Close frame: there comes nothing behind it."""

    @property
    def between_frames(self) -> bool:
        """Whether a frame may begin here."""
        return not self._left and not self._header

    def feed(self, data: bytes) -> None:
        """Go over `data`."""
        size = len(data)
        if size <= self._left:
            self._left -= size
            return
        at = self._left
        self._left = 0
        while at < size:
            at = self._begin(data, at)

    def end_of_frame(self, data: bytes) -> int:
        """Go over `data` only up to the end of the frame under way: how many bytes of it belong to that, all of them
        when it goes on behind them."""
        if self._left:
            end = min(self._left, len(data))
            self._left -= end
            return end
        if not self._header:
            return 0
        return self._begin(data, 0)

    def _begin(self, data: bytes, at: int) -> int:
        """Read the header at `at`, or behind the part of it that came before; the place behind its frame."""
        known = len(self._header)
        head = self._header + data[at : at + 14 - known]
        if len(head) < 2:
            self._header = head
            return len(data)
        length = head[1] & 0x7F
        extra = _LENGTH_BYTES.get(length, 0)
        needed = 2 + extra + (4 if head[1] & 0x80 else 0)
        if len(head) < needed:
            self._header = head
            return len(data)
        self._header = b""
        if head[0] & 0x0F == _CLOSE:
            self.closed = True
        if extra:
            length = int.from_bytes(head[2 : 2 + extra], "big")
        end = at + needed - known + length
        if end > len(data):
            self._left = end - len(data)
            return len(data)
        return end
