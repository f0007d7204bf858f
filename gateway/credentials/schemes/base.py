"""What every hash format offers, and the helpers they share."""

from __future__ import annotations

import base64
import binascii
from typing import Protocol

from gateway.errors import InvalidRequest


class StoredHash(Protocol):
    """A stored hash that was understood and is affordable to verify."""

    def verify(self, secret: bytes) -> bool:
        """Whether `secret` made this hash. Blocks for as long as the hash costs; constant time in the comparison."""
        ...


def malformed(scheme: str) -> InvalidRequest:
    """The text has the marks of `scheme` and is not one."""
    return InvalidRequest(f"password hash: malformed {scheme}")


def too_costly(scheme: str, limit: str) -> InvalidRequest:
    """Verifying would take the machine with it, so the hash is not taken in the first place."""
    return InvalidRequest(f"password hash: {scheme} costs too much to verify (limit: {limit})")


def unpadded_base64(text: str, scheme: str) -> bytes:
    """Decode standard base64 with or without its padding, canonical bits only."""
    bare = text.rstrip("=")
    try:
        data = base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise malformed(scheme) from None
    if base64.b64encode(data).decode().rstrip("=") != bare:
        raise malformed(scheme)
    return data
