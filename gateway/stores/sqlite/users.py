"""Users in SQLite."""

from __future__ import annotations

from gateway.clock import Clock
from gateway.credentials.user import User
from gateway.errors import Conflict, NotFound
from gateway.sessions.ports import Ended
from gateway.sessions.session import RevokeReason
from gateway.stores import transitions
from gateway.stores.codec import user_of, user_values, words_text
from gateway.stores.sqlite import writes
from gateway.stores.sqlite.codec import INSERT_USER, USER_COLUMNS
from gateway.stores.sqlite.lane import Reader, Transaction
from gateway.stores.sqlite.writer import Writer

_BY_KEY = f"SELECT {USER_COLUMNS} FROM users u WHERE u.username_key = ?"  # noqa: S608
_LIST = f"SELECT {USER_COLUMNS} FROM users u WHERE u.username_key > ? ORDER BY u.username_key LIMIT ?"  # noqa: S608


class SqliteUsers:
    """`UserStore` on one SQLite file."""

    def __init__(self, writer: Writer, reader: Reader, clock: Clock) -> None:
        self._writer = writer
        self._reader = reader
        self._clock = clock

    async def add(self, user: User) -> None:
        """Insert; raises `Conflict` when `username_key` is taken."""

        def work(transaction: Transaction) -> None:
            taken = "SELECT 1 FROM users WHERE user_id = ? OR username_key = ?"
            if transaction.execute(taken, (user.user_id, user.username_key)).fetchone() is not None:
                raise Conflict(f"the user {user.username!r} exists")
            transaction.execute(INSERT_USER, user_values(user))

        await self._writer.run(work)

    async def by_id(self, user_id: str) -> User | None:
        """The user, or None."""
        return await self._reader.run(lambda transaction: writes.find_user(transaction, user_id))

    async def by_username_key(self, username_key: str) -> User | None:
        """The user with this folded name, or None."""
        if not transitions.is_storable(username_key):
            return None

        def work(transaction: Transaction) -> User | None:
            row = transaction.execute(_BY_KEY, (username_key,)).fetchone()
            return user_of(row) if row is not None else None

        return await self._reader.run(work)

    async def list_users(self, *, limit: int = 1000, after: str = "") -> tuple[User, ...]:
        """Users by `username_key`, after `after`."""
        return await self._reader.run(
            lambda transaction: tuple(map(user_of, transaction.execute(_LIST, (after, limit))))
        )

    async def upgrade_hash(self, user_id: str, old: str, new: str) -> bool:
        """Replace a hash by a stronger one of the same password, if it is still `old`. Ends nothing."""

        def work(transaction: Transaction) -> bool:
            if _known(transaction, user_id).password_hash != old:
                return False
            transaction.execute("UPDATE users SET password_hash = ? WHERE user_id = ?", (new, user_id))
            return True

        return await self._writer.run(work)

    async def set_password(
        self, user_id: str, password_hash: str, *, keep: str | None = None, old: str | None = None
    ) -> Ended:
        """Store a new password's hash and end the user's sessions but `keep`, reason PASSWORD_CHANGED.

        With `old`, only for an active user whose hash is still that; otherwise raises `InvalidCredentials`.
        """

        def work(transaction: Transaction) -> Ended:
            user = _known(transaction, user_id)
            transitions.admit_change(user, old)
            now = self._clock.now()
            transaction.execute(
                "UPDATE users SET password_hash = ?, password_changed_at = ? WHERE user_id = ?",
                (password_hash, now, user_id),
            )
            return _end_all(transaction, user, RevokeReason.PASSWORD_CHANGED, now, keep)

        return await self._writer.run(work)

    async def set_active(self, user_id: str, active: bool) -> Ended:
        """Disabling ends every session (USER_DISABLED) and raises the epoch; enabling revives nothing."""

        def work(transaction: Transaction) -> Ended:
            user = _known(transaction, user_id)
            transaction.execute("UPDATE users SET active = ? WHERE user_id = ?", (active, user_id))
            if active:
                return Ended()
            return _end_all(transaction, user, RevokeReason.USER_DISABLED, self._clock.now())

        return await self._writer.run(work)

    async def set_roles(self, user_id: str, roles: tuple[str, ...]) -> Ended:
        """Replace the roles and raise the epoch: access tokens die, sessions live and get the new roles."""

        def work(transaction: Transaction) -> Ended:
            user = _known(transaction, user_id)
            transaction.execute("UPDATE users SET roles = ? WHERE user_id = ?", (words_text(roles), user_id))
            return _new_claims(transaction, user, self._clock.now())

        return await self._writer.run(work)

    async def set_email(self, user_id: str, email: str | None) -> Ended:
        """Replace the address and raise the epoch: access tokens die, sessions live and get the new address."""

        def work(transaction: Transaction) -> Ended:
            user = _known(transaction, user_id)
            transaction.execute("UPDATE users SET email = ? WHERE user_id = ?", (email, user_id))
            return _new_claims(transaction, user, self._clock.now())

        return await self._writer.run(work)

    async def remove(self, user_id: str) -> Ended:
        """Delete the user, ending every session (USER_REMOVED)."""

        def work(transaction: Transaction) -> Ended:
            user = _known(transaction, user_id)
            ended = _end_all(transaction, user, RevokeReason.USER_REMOVED, self._clock.now())
            transaction.execute("DELETE FROM users WHERE user_id = ?", (user_id,))
            return ended

        return await self._writer.run(work)


def _known(transaction: Transaction, user_id: str) -> User:
    user = writes.find_user(transaction, user_id)
    if user is None:
        raise NotFound("no such user")
    return user


def _new_claims(transaction: Transaction, user: User, now: float) -> Ended:
    effects = transitions.raise_epoch(user, writes.unended(transaction, user.user_id), now)
    return writes.apply(transaction, effects, now)


def _end_all(transaction: Transaction, user: User, reason: RevokeReason, now: float, keep: str | None = None) -> Ended:
    sessions = writes.unended(transaction, user.user_id)
    return writes.apply(transaction, transitions.end_user(user, sessions, reason, now, keep=keep), now)
