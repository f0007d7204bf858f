"""The claims of an access token in the gateway's own shape (RFC 9068)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """A verified, or about to be signed, access token. Times are epoch seconds.

    `subject` is `sub`, `generation` `rg`, `delivery` `dn` (negative: issued to the loser of a race), `user_epoch` `ue`.
    `receipt_at` (`ra`) is when use of this token starts to count as a receipt. `issuer` and `audience` are the ring's.
    """

    subject: str
    session_id: str
    generation: int
    delivery: int
    user_epoch: int
    issued_at: int
    expires_at: int
    receipt_at: int
    auth_time: int
    amr: tuple[str, ...]
    username: str
    email: str | None
    roles: tuple[str, ...]
    token_id: str
