"""As much of RFC 6455's framing as a benchmark needs: whole frames up to 64 KiB."""

from __future__ import annotations

TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA
_MASKED = 0x80


def make(opcode: int, payload: bytes, *, masked: bool = False) -> bytes:
    """One final frame. A client's mask is all zeros: valid, and it spares the load generator the work."""
    flag, size = _MASKED if masked else 0, len(payload)
    length = bytes((flag | size,)) if size < 126 else bytes((flag | 126,)) + size.to_bytes(2, "big")
    return bytes((0x80 | opcode,)) + length + (bytes(4) if masked else b"") + payload


def take(data: bytes) -> tuple[int, bytes, int] | None:
    """The first frame of `data` as opcode, unmasked payload and its size on the wire; None when it is not whole."""
    if len(data) < 2:
        return None
    size, at = data[1] & 0x7F, 2
    if size == 126:
        size, at = int.from_bytes(data[2:4], "big"), 4
    if size == 127:
        raise ValueError("a frame too long for the bench")
    mask = b""
    if data[1] & _MASKED:
        mask, at = data[at : at + 4], at + 4
    if len(data) < at + size:
        return None
    payload = data[at : at + size]
    if any(mask):
        payload = bytes(byte ^ mask[index & 3] for index, byte in enumerate(payload))
    return data[0] & 0x0F, payload, at + size
