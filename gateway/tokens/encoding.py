"""Base64url without padding (RFC 7515 2), one text per value: what is not canonical is refused."""

from __future__ import annotations

import binascii

_TO_URL = bytes.maketrans(b"+/", b"-_")
# "+", "/", "=" and whitespace become a byte no base64 alphabet has; everything else passes through to the decoder.
_FROM_URL = bytes.maketrans(b"-_+/=\n\r\t ", b"+/!!!!!!!")
_PADDING = (b"", b"", b"==", b"=")


def encode(data: bytes) -> bytes:
    """`data` as base64url without padding."""
    return binascii.b2a_base64(data, newline=False).rstrip(b"=").translate(_TO_URL)


def decode(text: bytes) -> bytes | None:
    """The bytes behind `text`, or None unless `text` is exactly what `encode` makes of them."""
    if len(text) % 4 == 1:
        return None
    try:
        data = binascii.a2b_base64(text.translate(_FROM_URL) + _PADDING[len(text) % 4], strict_mode=True)
    except binascii.Error:
        return None
    return data if encode(data) == text else None
