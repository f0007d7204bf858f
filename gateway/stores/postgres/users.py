"""Users in PostgreSQL."""

from __future__ import annotations

from gateway.clock import Clock
from gateway.credentials.user import User
from gateway.errors import Conflict, NotFound
from gateway.sessions.ports import Ended
from gateway.sessions.session import RevokeReason
from gateway.stores import transitions
from gateway.stores.codec import words_text
from gateway.stores.postgres import writes
from gateway.stores.postgres.codec import INSERT_USER, USER_COLUMNS, stored, user_of, user_values
from gateway.stores.postgres.work import Transaction, Work

BY_ID = f"SELECT {USER_COLUMNS} FROM users u WHERE u.user_id = $1"  # noqa: S608
BY_KEY = f"SELECT {USER_COLUMNS} FROM users u WHERE u.username_key = $1"  # noqa: S608
LIST = f"SELECT {USER_COLUMNS} FROM users u WHERE u.username_key > $1 ORDER BY u.username_key LIMIT $2"  # noqa: S608
_INSERT = f"{INSERT_USER} ON CONFLICT DO NOTHING RETURNING 1"
_SET_PASSWORD = "UPDATE users SET password_hash = $2, password_changed_at = $3 WHERE user_id = $1"


class PostgresUsers:
    """`UserStore` on PostgreSQL."""

    def __init__(self, work: Work, wall: Clock | None) -> None:
        self._work = work
        self._wall = wall

    async def add(self, user: User) -> None:
        """Insert; raises `Conflict` when `username_key` is taken."""
        if await self._work.row(_INSERT, *user_values(user)) is None:
            raise Conflict(f"the user {user.username!r} exists")

    async def by_id(self, user_id: str) -> User | None:
        """The user, or None."""
        row = await self._work.row(BY_ID, stored(user_id))
        return user_of(row) if row is not None else None

    async def by_username_key(self, username_key: str) -> User | None:
        """The user with this folded name, or None."""
        if not transitions.is_storable(username_key):
            return None
        row = await self._work.row(BY_KEY, stored(username_key))
        return user_of(row) if row is not None else None

    async def list_users(self, *, limit: int = 1000, after: str = "") -> tuple[User, ...]:
        """Users by `username_key`, after `after`."""
        return tuple(map(user_of, await self._work.rows(LIST, stored(after), limit)))

    async def upgrade_hash(self, user_id: str, old: str, new: str) -> bool:
        """Replace a hash by a stronger one of the same password, if it is still `old`. Ends nothing."""

        async def work(transaction: Transaction) -> bool:
            if (await _known(transaction, user_id)).password_hash != old:
                return False
            await transaction.execute("UPDATE users SET password_hash = $2 WHERE user_id = $1", user_id, new)
            return True

        return await self._work.run(work)

    async def set_password(
        self, user_id: str, password_hash: str, *, keep: str | None = None, old: str | None = None
    ) -> Ended:
        """Store a new password's hash and end the user's sessions but `keep`, reason PASSWORD_CHANGED.

        With `old`, only for an active user whose hash is still that; otherwise raises `InvalidCredentials`.
        """

        async def work(transaction: Transaction) -> Ended:
            user = await _known(transaction, user_id)
            transitions.admit_change(user, old)
            now = await writes.now(transaction, self._given())
            await transaction.execute(_SET_PASSWORD, user_id, password_hash, now)
            return await self._end_all(transaction, user, RevokeReason.PASSWORD_CHANGED, keep)

        return await self._work.run(work)

    async def set_active(self, user_id: str, active: bool) -> Ended:
        """Disabling ends every session (USER_DISABLED) and raises the epoch; enabling revives nothing."""

        async def work(transaction: Transaction) -> Ended:
            user = await _known(transaction, user_id)
            await transaction.execute("UPDATE users SET active = $2 WHERE user_id = $1", user_id, active)
            return Ended() if active else await self._end_all(transaction, user, RevokeReason.USER_DISABLED)

        return await self._work.run(work)

    async def set_roles(self, user_id: str, roles: tuple[str, ...]) -> Ended:
        """Replace the roles and raise the epoch: access tokens die, sessions live and get the new roles."""

        async def work(transaction: Transaction) -> Ended:
            user = await _known(transaction, user_id)
            await transaction.execute("UPDATE users SET roles = $2 WHERE user_id = $1", user_id, words_text(roles))
            return await self._new_claims(transaction, user)

        return await self._work.run(work)

    async def set_email(self, user_id: str, email: str | None) -> Ended:
        """Replace the address and raise the epoch: access tokens die, sessions live and get the new address."""

        async def work(transaction: Transaction) -> Ended:
            user = await _known(transaction, user_id)
            await transaction.execute("UPDATE users SET email = $2 WHERE user_id = $1", user_id, email)
            return await self._new_claims(transaction, user)

        return await self._work.run(work)

    async def remove(self, user_id: str) -> Ended:
        """Delete the user, ending every session (USER_REMOVED)."""

        async def work(transaction: Transaction) -> Ended:
            user = await _known(transaction, user_id)
            sessions = await writes.lock_unended(transaction, user_id)
            now = await writes.now(transaction, self._given())
            await transaction.execute("DELETE FROM users WHERE user_id = $1", user_id)
            effects = transitions.end_user(user, sessions, RevokeReason.USER_REMOVED, now)
            return await writes.apply(transaction, effects, now)

        return await self._work.run(work)

    async def _new_claims(self, transaction: Transaction, user: User) -> Ended:
        sessions = await writes.lock_unended(transaction, user.user_id)
        now = await writes.now(transaction, self._given())
        return await writes.apply(transaction, transitions.raise_epoch(user, sessions, now), now)

    async def _end_all(
        self, transaction: Transaction, user: User, reason: RevokeReason, keep: str | None = None
    ) -> Ended:
        sessions = await writes.lock_unended(transaction, user.user_id)
        now = await writes.now(transaction, self._given())
        return await writes.apply(transaction, transitions.end_user(user, sessions, reason, now, keep=keep), now)

    def _given(self) -> float | None:
        return self._wall.now() if self._wall is not None else None


async def _known(transaction: Transaction, user_id: str) -> User:
    user = await writes.lock_user(transaction, user_id)
    if user is None:
        raise NotFound("no such user")
    return user
