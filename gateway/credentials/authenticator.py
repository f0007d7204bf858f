"""The log-in step: from a name and a password to a user, or to one answer for everything that is wrong."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

from gateway.credentials.hasher import PasswordHasher, Verification
from gateway.credentials.names import fold_username
from gateway.credentials.ports import UserStore
from gateway.credentials.user import User
from gateway.errors import GatewayError, InvalidCredentials, InvalidRequest, TemporarilyUnavailable
from gateway.events import Event, EventSink, Level, Name

_RETRY_AFTER = 1


class LoginProblem(StrEnum):
    """Why a log-in failed: the `reason` of `login.failed`, never shown to the client."""

    UNKNOWN_USER = "unknown_user"
    WRONG_PASSWORD = "wrong_password"
    NO_PASSWORD = "no_password"
    UNUSABLE_HASH = "unusable_hash"
    USER_DISABLED = "user_disabled"


class LoginRefused(InvalidCredentials):
    """`InvalidCredentials`, with what only the log may know. `user_id` is None for an unknown user."""

    def __init__(self, reason: LoginProblem, user_id: str | None = None, debug: str | None = None) -> None:
        super().__init__(debug=debug or reason.value)
        self.reason = reason
        self.user_id = user_id


class Authenticator:
    """Checks passwords. Unknown, disabled and wrong take the same road: one hash, then one answer."""

    def __init__(self, users: UserStore, hasher: PasswordHasher, events: EventSink) -> None:
        self._users = users
        self._hasher = hasher
        self._events = events

    async def authenticate(self, username: str, password: str) -> User:
        """The user, as stored after the check. Raises `LoginRefused` or `TemporarilyUnavailable`.

        The epoch of the returned user is the one to create the session with: whatever ran beside the check and raised
        it before was seen here, and what raises it later is seen by the store.
        """
        user = await self._find(username)
        verification = await self._hasher.verify(password, user.password_hash if user else None)
        if user is None:
            raise LoginRefused(LoginProblem.UNKNOWN_USER)
        self._require(user, verification)
        if verification.outdated:
            user = await self._upgrade(user, password)
        return await self._read_again(user, password)

    async def confirm(self, user_id: str, password: str) -> User:
        """The active user with this id, if that is the password (a change, a step-up). Raises as `authenticate`."""
        user = await self._users.by_id(user_id)
        verification = await self._hasher.verify(password, user.password_hash if user else None)
        if user is None:
            raise LoginRefused(LoginProblem.UNKNOWN_USER)
        self._require(user, verification)
        return await self._read_again(user, password)

    async def _find(self, username: str) -> User | None:
        try:
            key = fold_username(username)
        except InvalidRequest:
            return None
        return await self._users.by_username_key(key)

    def _require(self, user: User, verification: Verification) -> None:
        if not verification.ok:
            reason = _reason(user, verification)
            raise LoginRefused(reason, user.user_id, verification.unusable)
        if not user.active:
            raise LoginRefused(LoginProblem.USER_DISABLED, user.user_id)

    async def _read_again(self, checked: User, password: str) -> User:
        """The user as of now: hashing takes long enough for an administrator to disable or re-password someone."""
        fresh = await self._users.by_id(checked.user_id)
        if fresh is None or not fresh.active:
            raise LoginRefused(LoginProblem.USER_DISABLED, checked.user_id)
        if fresh.password_hash == checked.password_hash:
            return fresh
        # Another log-in upgraded the hash, or the password was changed: only the new hash can say which.
        self._require(fresh, await self._hasher.verify(password, fresh.password_hash))
        last = await self._users.by_id(fresh.user_id)
        if last is None or last.password_hash != fresh.password_hash or not last.active:
            raise TemporarilyUnavailable(debug="the password keeps changing", retry_after=_RETRY_AFTER)
        return last

    async def _upgrade(self, user: User, password: str) -> User:
        """Replace a foreign or outdated hash now that the password is known. Never fails the log-in."""
        assert user.password_hash is not None  # noqa: S101 - a verified password had a hash
        try:
            new = await self._hasher.hash(password)
            upgraded = await self._users.upgrade_hash(user.user_id, user.password_hash, new)
        except GatewayError as failure:
            fields = {"operation": "users.upgrade_hash", "error": failure.code, "reason": str(failure)}
            self._events.emit(Event(Name.STORE_FAILED, Level.WARNING, user_id=user.user_id, fields=fields))
            return user
        return replace(user, password_hash=new) if upgraded else user


def _reason(user: User, verification: Verification) -> LoginProblem:
    if user.password_hash is None:
        return LoginProblem.NO_PASSWORD
    return LoginProblem.UNUSABLE_HASH if verification.unusable else LoginProblem.WRONG_PASSWORD
