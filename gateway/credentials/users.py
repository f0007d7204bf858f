"""What can be done to users. Every value is checked before it is stored: it may travel in a header for years."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from uuid import uuid4

from gateway.clock import Clock
from gateway.credentials.authenticator import Authenticator
from gateway.credentials.hasher import PasswordHasher
from gateway.credentials.names import check_email, check_roles, check_username, fold_username
from gateway.credentials.passwords import PasswordPolicy, check_new_password
from gateway.credentials.ports import UserStore
from gateway.credentials.schemes.registry import parse_hash
from gateway.credentials.user import User
from gateway.errors import Conflict, InvalidCredentials, InvalidRequest, NotFound
from gateway.sessions.ports import Ended

_PAGE = 500


class UserService:
    """Adds, changes and removes users.

    What ends sessions returns `Ended`, committed: the caller hands it to `SessionService.announce`.
    """

    def __init__(
        self,
        store: UserStore,
        hasher: PasswordHasher,
        clock: Clock,
        *,
        policy: PasswordPolicy | None = None,
        new_id: Callable[[], str] = lambda: str(uuid4()),
    ) -> None:
        self._store = store
        self._hasher = hasher
        self._clock = clock
        self._policy = policy or PasswordPolicy()
        self._new_id = new_id

    async def add(
        self, username: str, password: str | None, *, email: str | None = None, roles: Iterable[str] = ()
    ) -> User:
        """Add a user, without a password when that is None. Raises `InvalidRequest` or `Conflict`."""
        user = self.new_user(username, email=email, roles=roles)
        if password is not None:
            check_new_password(password, self._policy)
        if await self._store.by_username_key(user.username_key) is not None:
            raise Conflict("a user with this name exists")
        hashed = None if password is None else await self._hasher.hash(password)
        return await self._insert(user, hashed, active=True)

    async def add_hashed(self, user: User, password_hash: str | None, *, active: bool = True) -> User:
        """Insert what `new_user` made, with a hash that exists already. Raises `InvalidRequest` or `Conflict`."""
        if password_hash is not None:
            parse_hash(password_hash)
        return await self._insert(user, password_hash, active=active)

    def new_user(self, username: str, *, email: str | None = None, roles: Iterable[str] = ()) -> User:
        """A checked user that is not stored yet. Raises `InvalidRequest`."""
        now = self._clock.now()
        return User(
            user_id=self._new_id(),
            username=check_username(username),
            username_key=fold_username(username),
            email=check_email(email),
            roles=check_roles(roles),
            password_hash=None,
            active=False,
            epoch=0,
            created_at=now,
            password_changed_at=now,
        )

    async def find(self, username: str) -> User:
        """The user with this name, in any spelling of its letters. Raises `NotFound`."""
        user = await self.lookup(username)
        if user is None:
            raise NotFound("no such user")
        return user

    async def lookup(self, username: str) -> User | None:
        """The user with this name, or None."""
        try:
            key = fold_username(username)
        except InvalidRequest:
            return None
        return await self._store.by_username_key(key)

    async def get(self, user_id: str) -> User:
        """The user with this id. Raises `NotFound`."""
        user = await self._store.by_id(user_id)
        if user is None:
            raise NotFound("no such user")
        return user

    async def identify(self, who: str) -> User | None:
        """The user with this id or name, or None. An id comes first."""
        return await self._store.by_id(who) or await self.lookup(who)

    async def page(self, *, limit: int, after: str = "") -> tuple[User, ...]:
        """At most `limit` users by folded name, those after the folded name `after`."""
        return await self._store.list_users(limit=limit, after=after)

    async def list_users(self) -> AsyncIterator[User]:
        """Every user, by folded name, read in pages."""
        after = ""
        while page := await self._store.list_users(limit=_PAGE, after=after):
            for user in page:
                yield user
            after = page[-1].username_key

    def check_profile(self, *, email: str | None, roles: Iterable[str]) -> None:
        """Raise `InvalidRequest` when these may not be set."""
        check_email(email)
        check_roles(roles)

    def check_password(self, password: str) -> None:
        """Raise `InvalidRequest` when `password` may not be set."""
        check_new_password(password, self._policy)

    async def set_password(self, user_id: str, password: str, *, keep: str | None = None) -> Ended:
        """Set a password and end the user's sessions but `keep`."""
        check_new_password(password, self._policy)
        return await self._store.set_password(user_id, await self._hasher.hash(password), keep=keep)

    async def change_password(
        self, authenticator: Authenticator, user_id: str, current: str, new: str, *, keep: str | None
    ) -> Ended:
        """The user's own change: needs the current password, ends the other sessions.

        Raises `InvalidCredentials` for a wrong one, `InvalidRequest` for a new one that may not be set.
        """
        check_new_password(new, self._policy)
        user = await authenticator.confirm(user_id, current)
        hashed = await self._hasher.hash(new)
        try:
            # An administrator's reset that ran beside this wins: it may be there to shut this very caller out.
            return await self._store.set_password(user_id, hashed, keep=keep, old=user.password_hash)
        except NotFound:
            raise InvalidCredentials(debug="the user was removed meanwhile") from None

    async def enable(self, user_id: str) -> None:
        """Let the user log in again. Nothing that was ended comes back."""
        await self._store.set_active(user_id, True)

    async def disable(self, user_id: str) -> Ended:
        """Refuse log-ins and end every session."""
        return await self._store.set_active(user_id, False)

    async def remove(self, user_id: str) -> Ended:
        """Delete the user and end every session."""
        return await self._store.remove(user_id)

    async def set_roles(self, user_id: str, roles: Iterable[str]) -> Ended:
        """Replace the roles. Access tokens that carry the old ones die."""
        return await self._store.set_roles(user_id, check_roles(roles))

    async def set_email(self, user_id: str, email: str | None) -> Ended:
        """Replace the e-mail address, None for none. Access tokens that carry the old one die."""
        return await self._store.set_email(user_id, check_email(email))

    async def _insert(self, user: User, password_hash: str | None, *, active: bool) -> User:
        stored = replace(user, password_hash=password_hash, active=active)
        await self._store.add(stored)
        return stored
