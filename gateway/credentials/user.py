"""A user as stored."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class User:
    """A person who can log in. Times are epoch seconds.

    `username` is what was typed when the user was added; `username_key` is its folded form (NFKC, case-folded), the
    one that is unique and looked up. `epoch` grows by one whenever every access token of the user must die.
    `password_hash` is PHC/MCF text and None for a user who cannot log in by password.
    """

    user_id: str
    username: str
    username_key: str
    email: str | None
    roles: tuple[str, ...]
    password_hash: str | None
    active: bool
    epoch: int
    created_at: float
    password_changed_at: float
