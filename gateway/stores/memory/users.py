"""Users in memory."""

from __future__ import annotations

from dataclasses import replace

from gateway.credentials.user import User
from gateway.errors import Conflict, NotFound
from gateway.sessions.ports import Ended
from gateway.sessions.session import RevokeReason
from gateway.stores import transitions
from gateway.stores.memory.database import MemoryDatabase


class MemoryUsers:
    """`UserStore` in memory."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._db = database

    async def add(self, user: User) -> None:
        """Insert; raises `Conflict` when `username_key` is taken."""
        self._db.open_or_raise()
        if user.user_id in self._db.users or await self.by_username_key(user.username_key) is not None:
            raise Conflict(f"the user {user.username!r} exists")
        self._db.users[user.user_id] = user

    async def by_id(self, user_id: str) -> User | None:
        """The user, or None."""
        self._db.open_or_raise()
        return self._db.users.get(user_id)

    async def by_username_key(self, username_key: str) -> User | None:
        """The user with this folded name, or None."""
        self._db.open_or_raise()
        return next((user for user in self._db.users.values() if user.username_key == username_key), None)

    async def list_users(self, *, limit: int = 1000, after: str = "") -> tuple[User, ...]:
        """Users by `username_key`, after `after`."""
        self._db.open_or_raise()
        found = sorted((u for u in self._db.users.values() if u.username_key > after), key=lambda u: u.username_key)
        return tuple(found[:limit])

    async def upgrade_hash(self, user_id: str, old: str, new: str) -> bool:
        """Replace a hash by a stronger one of the same password, if it is still `old`. Ends nothing."""
        user = self._known(user_id)
        if user.password_hash != old:
            return False
        self._db.users[user_id] = replace(user, password_hash=new)
        return True

    async def set_password(
        self, user_id: str, password_hash: str, *, keep: str | None = None, old: str | None = None
    ) -> Ended:
        """Store a new password's hash and end the user's sessions but `keep`, reason PASSWORD_CHANGED.

        With `old`, only for an active user whose hash is still that; otherwise raises `InvalidCredentials`.
        """
        user = self._known(user_id)
        transitions.admit_change(user, old)
        now = self._db.clock.now()
        self._db.users[user_id] = replace(user, password_hash=password_hash, password_changed_at=now)
        return self._end_all(user, RevokeReason.PASSWORD_CHANGED, now, keep)

    async def set_active(self, user_id: str, active: bool) -> Ended:
        """Disabling ends every session (USER_DISABLED) and raises the epoch; enabling revives nothing."""
        user = self._known(user_id)
        self._db.users[user_id] = replace(user, active=active)
        return Ended() if active else self._end_all(user, RevokeReason.USER_DISABLED, self._db.clock.now())

    async def set_roles(self, user_id: str, roles: tuple[str, ...]) -> Ended:
        """Replace the roles and raise the epoch: access tokens die, sessions live and get the new roles."""
        user = self._known(user_id)
        self._db.users[user_id] = replace(user, roles=roles)
        return self._new_claims(user)

    async def set_email(self, user_id: str, email: str | None) -> Ended:
        """Replace the address and raise the epoch: access tokens die, sessions live and get the new address."""
        user = self._known(user_id)
        self._db.users[user_id] = replace(user, email=email)
        return self._new_claims(user)

    async def remove(self, user_id: str) -> Ended:
        """Delete the user, ending every session (USER_REMOVED)."""
        ended = self._end_all(self._known(user_id), RevokeReason.USER_REMOVED, self._db.clock.now())
        del self._db.users[user_id]
        return ended

    def _known(self, user_id: str) -> User:
        self._db.open_or_raise()
        user = self._db.users.get(user_id)
        if user is None:
            raise NotFound("no such user")
        return user

    def _new_claims(self, user: User) -> Ended:
        now = self._db.clock.now()
        return self._db.apply(transitions.raise_epoch(user, self._db.unended(user.user_id), now), now)

    def _end_all(self, user: User, reason: RevokeReason, now: float, keep: str | None = None) -> Ended:
        sessions = self._db.unended(user.user_id)
        return self._db.apply(transitions.end_user(user, sessions, reason, now, keep=keep), now)
