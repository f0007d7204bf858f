"""What can be wrong with a refresh token or a sealed value before anything is read."""

from __future__ import annotations

from gateway.errors import GatewayError, InvalidGrant


class ForgedToken(InvalidGrant):
    """Not a refresh token of this gateway: wrong shape, wrong MAC, or from another store incarnation."""


class WithdrawnKey(ForgedToken):
    """Claims a master key that was taken out of the key file: its MAC can no longer be checked, the session is dead.

    `sid` is what the token says, unproven: good for a log line, never for a look-up.
    """

    def __init__(self, kid: int, sid: str) -> None:
        super().__init__(debug=f"master key {kid} is not in the key file any more")
        self.kid = kid
        self.sid = sid


class SealBroken(GatewayError):
    """A sealed value does not open: its master key is gone, or the value was altered or moved."""
