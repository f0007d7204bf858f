"""What credentials ask of a store."""

from __future__ import annotations

from typing import Protocol

from gateway.credentials.user import User
from gateway.sessions.ports import Ended


class UserStore(Protocol):
    """Users. Whatever weakens a user's rights revokes in the same transaction and says what it ended.

    Every method raises `StoreBusy` or `StoreUnavailable`, never a driver's exception. `NotFound` for an unknown id.
    """

    async def add(self, user: User) -> None:
        """Insert; raises `Conflict` when `username_key` is taken."""
        ...

    async def by_id(self, user_id: str) -> User | None:
        """The user, or None."""
        ...

    async def by_username_key(self, username_key: str) -> User | None:
        """The user with this folded name, or None."""
        ...

    async def list_users(self, *, limit: int = 1000, after: str = "") -> tuple[User, ...]:
        """Users by `username_key`, after `after`."""
        ...

    async def upgrade_hash(self, user_id: str, old: str, new: str) -> bool:
        """Replace a hash by a stronger one of the same password, if it is still `old`. Ends nothing."""
        ...

    async def set_password(
        self, user_id: str, password_hash: str, *, keep: str | None = None, old: str | None = None
    ) -> Ended:
        """Store a new password's hash and end the user's sessions but `keep`, reason PASSWORD_CHANGED.

        With `old`, only for an active user whose hash is still that; otherwise raises `InvalidCredentials`.
        """
        ...

    async def set_active(self, user_id: str, active: bool) -> Ended:
        """Disabling ends every session (USER_DISABLED) and raises the epoch; enabling revives nothing."""
        ...

    async def set_roles(self, user_id: str, roles: tuple[str, ...]) -> Ended:
        """Replace the roles and raise the epoch: access tokens die, sessions live and get the new roles."""
        ...

    async def set_email(self, user_id: str, email: str | None) -> Ended:
        """Replace the address and raise the epoch: access tokens die, sessions live and get the new address."""
        ...

    async def remove(self, user_id: str) -> Ended:
        """Delete the user, ending every session (USER_REMOVED)."""
        ...
