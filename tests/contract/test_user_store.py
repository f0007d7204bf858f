"""UserStore: every change that weakens a user's rights revokes in the same step."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.clock import FrozenClock
from support.stores import a_user, log_in

from gateway.credentials.user import User
from gateway.errors import Conflict, InvalidCredentials, NotFound
from gateway.sessions.ports import Ended, EndedSession, FeedKind
from gateway.sessions.session import RevokeReason
from gateway.stores.bundle import Stores


async def stored(stores: Stores, user: User) -> User:
    found = await stores.users.by_id(user.user_id)
    assert found is not None
    return found


async def test_a_user_comes_back_as_stored(stores: Stores) -> None:
    user = a_user("Ünïcode", email="u@example.org", roles=("a", "b c", "ü"), active=False, epoch=9, password_hash=None)
    await stores.users.add(user)
    assert await stores.users.by_id(user.user_id) == user
    assert await stores.users.by_username_key(user.username_key) == user


async def test_the_unknown_are_nobody(stores: Stores, user: User) -> None:
    assert await stores.users.by_id("nobody") is None
    assert await stores.users.by_username_key(user.username_key.upper()) is None
    assert await stores.users.by_username_key("\ud800") is None


async def test_a_name_is_taken_once(stores: Stores, user: User) -> None:
    with pytest.raises(Conflict):
        await stores.users.add(a_user("other", username_key=user.username_key))
    with pytest.raises(Conflict):
        await stores.users.add(a_user("other", user_id=user.user_id))
    assert await stores.users.list_users() == (user,)


async def test_users_are_paged_by_name(stores: Stores) -> None:
    users = [a_user(name) for name in ("dora", "bob", "carl", "Zoe", "eve")]
    for user in users:
        await stores.users.add(user)
    page = await stores.users.list_users(limit=3)
    rest = await stores.users.list_users(limit=10, after=page[-1].username_key)
    assert [user.username_key for user in page + rest] == ["bob", "carl", "dora", "eve", "zoe"]


async def test_a_hash_is_upgraded_once_and_ends_nothing(stores: Stores, user: User) -> None:
    client = await log_in(stores, user)
    assert await stores.users.upgrade_hash(user.user_id, "old-hash", "new-hash") is True
    assert await stores.users.upgrade_hash(user.user_id, "old-hash", "newer-hash") is False
    assert await stored(stores, user) == replace(user, password_hash="new-hash")
    assert await stores.sessions.list_live() == (await client.stored(),)
    assert await stores.sessions.feed(0) == ()


async def test_a_new_password_ends_every_session(stores: Stores, user: User, clock: FrozenClock) -> None:
    client = await log_in(stores, user)
    clock.advance(60)
    ended = await stores.users.set_password(user.user_id, "new-hash")
    assert ended.sessions == (EndedSession(client.sid, user.user_id, RevokeReason.PASSWORD_CHANGED),)
    assert [(entry.kind, entry.value) for entry in ended.feed] == [(FeedKind.USER, 1)]
    changed = replace(user, password_hash="new-hash", password_changed_at=clock.now(), epoch=1)
    assert await stored(stores, user) == changed


async def test_a_new_password_keeps_the_session_that_set_it(stores: Stores, user: User) -> None:
    client, other = await log_in(stores, user), await log_in(stores, user)
    ended = await stores.users.set_password(user.user_id, "new-hash", keep=client.sid)
    assert [session.sid for session in ended.sessions] == [other.sid]
    assert [(entry.kind, entry.key) for entry in ended.feed] == [(FeedKind.SESSION, other.sid)]
    assert (await stored(stores, user)).epoch == 0
    assert await stores.sessions.list_live() == (await client.stored(),)


@pytest.mark.parametrize(("active", "old"), [(True, "another-hash"), (False, "old-hash")])
async def test_a_change_proven_against_what_is_gone_changes_nothing(
    stores: Stores, user: User, active: bool, old: str
) -> None:
    await stores.users.set_active(user.user_id, active)
    before = await stored(stores, user)
    with pytest.raises(InvalidCredentials):
        await stores.users.set_password(user.user_id, "new-hash", old=old)
    assert await stored(stores, user) == before


async def test_a_change_proven_against_the_stored_hash_passes(stores: Stores, user: User) -> None:
    await stores.users.set_password(user.user_id, "new-hash", old="old-hash")
    assert (await stored(stores, user)).password_hash == "new-hash"


async def test_disabling_ends_everything_and_enabling_revives_nothing(stores: Stores, user: User) -> None:
    client = await log_in(stores, user)
    ended = await stores.users.set_active(user.user_id, False)
    assert ended.sessions == (EndedSession(client.sid, user.user_id, RevokeReason.USER_DISABLED),)
    assert [(entry.kind, entry.value) for entry in ended.feed] == [(FeedKind.USER, 1)]
    assert await stored(stores, user) == replace(user, active=False, epoch=1)
    assert await stores.users.set_active(user.user_id, True) == Ended()
    assert await stored(stores, user) == replace(user, epoch=1)
    assert await stores.sessions.list_live() == ()


async def test_roles_kill_access_tokens_and_keep_sessions(stores: Stores, user: User) -> None:
    client = await log_in(stores, user)
    ended = await stores.users.set_roles(user.user_id, ("admin", "writer"))
    assert ended.sessions == ()
    assert [(entry.kind, entry.key, entry.value) for entry in ended.feed] == [(FeedKind.USER, user.user_id, 1)]
    rotation = await client.present(1)
    assert rotation.user == replace(user, roles=("admin", "writer"), epoch=1)
    assert rotation.decision.grant is not None


@pytest.mark.parametrize("email", ["new@example.com", None])
async def test_another_address_kills_access_tokens_and_keeps_sessions(
    stores: Stores, user: User, email: str | None
) -> None:
    client = await log_in(stores, user)
    ended = await stores.users.set_email(user.user_id, email)
    assert ended.sessions == ()
    assert [(entry.kind, entry.key, entry.value) for entry in ended.feed] == [(FeedKind.USER, user.user_id, 1)]
    rotation = await client.present(1)
    assert rotation.user == replace(user, email=email, epoch=1)
    assert rotation.decision.grant is not None


async def test_removing_ends_everything(stores: Stores, user: User) -> None:
    client = await log_in(stores, user)
    ended = await stores.users.remove(user.user_id)
    assert ended.sessions == (EndedSession(client.sid, user.user_id, RevokeReason.USER_REMOVED),)
    assert [(entry.kind, entry.value) for entry in ended.feed] == [(FeedKind.USER, 1)]
    assert await stores.users.by_id(user.user_id) is None
    assert (await client.stored()).revoke_reason is RevokeReason.USER_REMOVED
    await stores.users.add(a_user("again", username_key=user.username_key))
    assert await stores.sessions.list_live() == ()


async def test_changing_the_unknown_is_an_error(stores: Stores) -> None:
    calls = (
        stores.users.upgrade_hash("nobody", "a", "b"),
        stores.users.set_password("nobody", "a"),
        stores.users.set_active("nobody", False),
        stores.users.set_active("nobody", True),
        stores.users.set_roles("nobody", ()),
        stores.users.set_email("nobody", None),
        stores.users.remove("nobody"),
    )
    for call in calls:
        with pytest.raises(NotFound):
            await call
    assert await stores.sessions.feed(0) == ()
