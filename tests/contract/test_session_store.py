"""SessionStore but for rotation: create, list, end, confirm."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.clock import FrozenClock
from support.stores import LAPTOP, PHONE, a_session, a_user, log_in

from gateway.credentials.user import User
from gateway.errors import Conflict, InvalidCredentials
from gateway.sessions.ports import Ended, EndedSession, FeedKind, Receipt
from gateway.sessions.session import Channel, RetryMark, RevokeReason, Session
from gateway.stores.bundle import Stores
from gateway.stores.transitions import DENIAL_LEEWAY


async def put(stores: Stores, session: Session, epoch: int = 0, limit: int = 50) -> Session:
    return (await stores.sessions.create(session, user_epoch=epoch, max_per_user=limit)).session


def sids(ended: Ended) -> list[str]:
    return [session.sid for session in ended.sessions]


async def test_a_session_comes_back_as_it_was_stored(stores: Stores, user: User, clock: FrozenClock) -> None:
    session = a_session(
        user.user_id,
        clock.now() + 0.123456,
        channel=Channel.BODY,
        kid=255,
        amr=("pwd", "otp"),
        generation=4_294_967_295,
        delivery=3,
        confirmed_generation=7,
        presented_generation=8,
        seen=replace(PHONE, user_agent="Ünïcode \0 ☃"),
        retries=(RetryMark(4, False), RetryMark(9, True)),
        proof_required=True,
    )
    assert await put(stores, session) == session
    assert await stores.sessions.get(session.sid) == session
    assert await stores.sessions.get("no such session") is None


async def test_the_store_tells_its_own_time(stores: Stores, clock: FrozenClock) -> None:
    clock.advance(12.5)
    assert await stores.sessions.now() == clock.now()


async def test_stray_bytes_in_a_user_agent_fail_no_log_in(stores: Stores, user: User, clock: FrozenClock) -> None:
    facts = replace(LAPTOP, user_agent="curl/\udcff8")
    stored = await put(stores, a_session(user.user_id, clock.now(), bound=facts, seen=facts))
    assert stored.seen.user_agent == "curl/?8"
    assert await stores.sessions.get(stored.sid) == stored


async def test_a_password_that_changed_beside_the_log_in_wins(stores: Stores, user: User, clock: FrozenClock) -> None:
    kept = await put(stores, a_session(user.user_id, clock.now()))
    clock.advance(1)
    await stores.users.set_password(user.user_id, "$new", keep=kept.sid)
    session = a_session(user.user_id, clock.now())
    changed = await stores.users.by_id(user.user_id)
    assert changed is not None and changed.epoch == user.epoch
    with pytest.raises(InvalidCredentials):
        await stores.sessions.create(
            session, user_epoch=user.epoch, max_per_user=50, password_changed_at=user.password_changed_at
        )
    assert await stores.sessions.get(session.sid) is None
    created = await stores.sessions.create(
        session, user_epoch=user.epoch, max_per_user=50, password_changed_at=changed.password_changed_at
    )
    assert created.session == session


async def test_the_same_id_twice_is_a_conflict(stores: Stores, user: User, clock: FrozenClock) -> None:
    session = await put(stores, a_session(user.user_id, clock.now()))
    with pytest.raises(Conflict):
        await put(stores, session)
    assert await stores.sessions.get(session.sid) == session


async def test_nobody_logs_in_without_an_active_user(stores: Stores, user: User, clock: FrozenClock) -> None:
    with pytest.raises(InvalidCredentials):
        await put(stores, a_session("nobody", clock.now()))
    await stores.users.set_active(user.user_id, False)
    with pytest.raises(InvalidCredentials):
        await put(stores, a_session(user.user_id, clock.now()), epoch=1)
    assert await stores.sessions.list_live() == ()


async def test_revoke_all_beside_a_login_wins(stores: Stores, user: User, clock: FrozenClock) -> None:
    await stores.sessions.end_user(user.user_id, RevokeReason.LOGOUT_ALL)
    with pytest.raises(InvalidCredentials):
        await put(stores, a_session(user.user_id, clock.now()), epoch=user.epoch)
    session = await put(stores, a_session(user.user_id, clock.now()), epoch=user.epoch + 1)
    assert await stores.sessions.list_live(user.user_id) == (session,)


async def test_the_longest_idle_make_room(stores: Stores, user: User, clock: FrozenClock) -> None:
    made = []
    for _ in range(3):
        made.append(await put(stores, a_session(user.user_id, clock.now()), limit=3))
        clock.advance(10)
    await stores.sessions.confirm([Receipt(made[0].sid, 1, clock.now(), False, False)])
    created = await stores.sessions.create(a_session(user.user_id, clock.now()), user_epoch=0, max_per_user=2)
    assert created.evicted.sessions == tuple(
        EndedSession(session.sid, user.user_id, RevokeReason.EVICTED) for session in (made[1], made[2])
    )
    assert [entry.key for entry in created.evicted.feed] == [made[1].sid, made[2].sid]
    live = {session.sid for session in await stores.sessions.list_live(user.user_id)}
    assert live == {made[0].sid, created.session.sid}


async def test_one_session_always_fits(stores: Stores, user: User, clock: FrozenClock) -> None:
    first = await put(stores, a_session(user.user_id, clock.now()), limit=0)
    created = await stores.sessions.create(a_session(user.user_id, clock.now()), user_epoch=0, max_per_user=0)
    assert sids(created.evicted) == [first.sid]
    assert await stores.sessions.list_live() == (created.session,)


async def test_others_and_the_dead_take_no_room(stores: Stores, user: User, clock: FrozenClock) -> None:
    other = a_user("bob")
    await stores.users.add(other)
    await log_in(stores, other)
    over = await put(stores, a_session(user.user_id, clock.now(), idle_expires_at=clock.now() + 1))
    ended = await put(stores, a_session(user.user_id, clock.now()))
    await stores.sessions.end(ended.sid, RevokeReason.LOGOUT)
    clock.advance(1)
    created = await stores.sessions.create(a_session(user.user_id, clock.now()), user_epoch=0, max_per_user=1)
    assert created.evicted == Ended()
    assert (await stores.sessions.get(over.sid)) == over


async def test_one_users_sessions_are_listed_by_last_use(stores: Stores, user: User, clock: FrozenClock) -> None:
    first = await put(stores, a_session(user.user_id, clock.now()))
    clock.advance(5)
    second = await put(stores, a_session(user.user_id, clock.now()))
    assert await stores.sessions.list_live(user.user_id) == (second, first)
    clock.advance(5)
    await stores.sessions.confirm([Receipt(first.sid, 1, clock.now(), False, False)])
    assert [s.sid for s in await stores.sessions.list_live(user.user_id)] == [first.sid, second.sid]
    assert [s.sid for s in await stores.sessions.list_live(user.user_id, limit=1)] == [first.sid]
    assert await stores.sessions.list_live("nobody") == ()


async def test_all_sessions_are_paged_by_id(stores: Stores, user: User, clock: FrozenClock) -> None:
    made = sorted([(await log_in(stores, user)).sid for _ in range(5)])
    gone = await log_in(stores, user)
    await stores.sessions.end(gone.sid, RevokeReason.ADMIN)
    page = await stores.sessions.list_live(limit=2)
    rest = await stores.sessions.list_live(limit=10, after=page[-1].sid)
    assert [session.sid for session in page + rest] == made


@pytest.mark.parametrize("limit", ["idle_expires_at", "absolute_expires_at"])
async def test_a_session_lives_until_its_limit_and_no_longer(
    stores: Stores, user: User, clock: FrozenClock, limit: str
) -> None:
    session = await put(stores, a_session(user.user_id, clock.now(), **{limit: clock.now() + 100}))
    clock.advance(99.999)
    assert await stores.sessions.list_live(user.user_id) == (session,)
    clock.advance(0.001)
    assert await stores.sessions.list_live(user.user_id) == ()
    assert await stores.sessions.list_live() == ()


async def test_end_ends_one_and_keeps_others(stores: Stores, user: User, clock: FrozenClock) -> None:
    one, other = await log_in(stores, user), await log_in(stores, user)
    ended = await stores.sessions.end(one.sid, RevokeReason.LOGOUT)
    assert ended.sessions == (EndedSession(one.sid, user.user_id, RevokeReason.LOGOUT),)
    (entry,) = ended.feed
    assert (entry.kind, entry.key, entry.value) == (FeedKind.SESSION, one.sid, 0)
    stored = await one.stored()
    assert entry.expires_at == stored.max_access_exp + DENIAL_LEEWAY
    assert (stored.revoked_at, stored.revoke_reason) == (clock.now(), RevokeReason.LOGOUT)
    assert [session.sid for session in await stores.sessions.list_live(user.user_id)] == [other.sid]


async def test_what_has_ended_ends_no_second_time(stores: Stores, user: User, clock: FrozenClock) -> None:
    client = await log_in(stores, user)
    await stores.sessions.end(client.sid, RevokeReason.LOGOUT)
    before = await client.stored()
    clock.advance(5)
    assert await stores.sessions.end(client.sid, RevokeReason.ADMIN) == Ended()
    assert await stores.sessions.end("unknown", RevokeReason.ADMIN) == Ended()
    assert await client.stored() == before


async def test_only_the_owner_ends_a_session(stores: Stores, user: User) -> None:
    client = await log_in(stores, user)
    assert await stores.sessions.end(client.sid, RevokeReason.USER_REVOKED, user_id="someone else") == Ended()
    ended = await stores.sessions.end(client.sid, RevokeReason.USER_REVOKED, user_id=user.user_id)
    assert sids(ended) == [client.sid]


async def test_ending_a_user_raises_the_epoch(stores: Stores, user: User, clock: FrozenClock) -> None:
    clients = []
    for _ in range(3):
        clients.append(await log_in(stores, user))
        clock.advance(1)
    ended = await stores.sessions.end_user(user.user_id, RevokeReason.LOGOUT_ALL)
    assert sids(ended) == [client.sid for client in clients]
    assert {session.reason for session in ended.sessions} == {RevokeReason.LOGOUT_ALL}
    (entry,) = ended.feed
    assert (entry.kind, entry.key, entry.value) == (FeedKind.USER, user.user_id, 1)
    assert entry.expires_at == (await clients[-1].stored()).max_access_exp + DENIAL_LEEWAY
    stored = await stores.users.by_id(user.user_id)
    assert stored is not None and stored.epoch == 1
    assert await stores.sessions.list_live(user.user_id) == ()


async def test_ending_the_others_keeps_one_and_the_epoch(stores: Stores, user: User, clock: FrozenClock) -> None:
    kept = await log_in(stores, user)
    clock.advance(1)
    gone = await log_in(stores, user)
    ended = await stores.sessions.end_user(user.user_id, RevokeReason.PASSWORD_CHANGED, keep=kept.sid)
    assert sids(ended) == [gone.sid]
    assert [(entry.kind, entry.key) for entry in ended.feed] == [(FeedKind.SESSION, gone.sid)]
    assert await stores.users.by_id(user.user_id) == user
    assert [session.sid for session in await stores.sessions.list_live()] == [kept.sid]


async def test_a_user_without_sessions_still_gets_a_new_epoch(stores: Stores, user: User) -> None:
    ended = await stores.sessions.end_user(user.user_id, RevokeReason.ADMIN)
    assert ended.sessions == () and ended.feed[0].value == 1
    assert await stores.sessions.end_user("nobody", RevokeReason.ADMIN) == Ended()


async def test_an_entry_outlives_the_longest_token_and_never_begins_expired(
    stores: Stores, user: User, clock: FrozenClock
) -> None:
    reloaded = await log_in(stores, user, max_access_exp=clock.now() + 7200)
    spent = await log_in(stores, user, max_access_exp=clock.now() - 7200)
    longer = await stores.sessions.end(reloaded.sid, RevokeReason.ADMIN)
    shorter = await stores.sessions.end(spent.sid, RevokeReason.ADMIN)
    assert longer.feed[0].expires_at == clock.now() + 7200 + DENIAL_LEEWAY
    assert shorter.feed[0].expires_at == clock.now() + DENIAL_LEEWAY


async def test_what_outlived_its_limit_is_not_called_a_logout(stores: Stores, user: User, clock: FrozenClock) -> None:
    idle = await log_in(stores, user, idle_expires_at=clock.now() + 10)
    clock.advance(1)
    over = await log_in(stores, user, absolute_expires_at=clock.now() + 9)
    clock.advance(9)
    ended = await stores.sessions.end_user(user.user_id, RevokeReason.LOGOUT_ALL)
    assert [(s.sid, s.reason) for s in ended.sessions] == [
        (idle.sid, RevokeReason.IDLE),
        (over.sid, RevokeReason.ABSOLUTE),
    ]


async def test_a_receipt_confirms_the_current_generation_only(stores: Stores, user: User, clock: FrozenClock) -> None:
    client = await log_in(stores, user, generation=5, confirmed_generation=2)
    await stores.sessions.confirm([Receipt(client.sid, 4, clock.now(), True, False)])
    await stores.sessions.confirm([Receipt(client.sid, 6, clock.now(), True, False)])
    await stores.sessions.confirm([Receipt(client.sid, 5, clock.now(), False, False)])
    assert (await client.stored()).confirmed_generation == 2
    for _ in range(2):
        await stores.sessions.confirm([Receipt(client.sid, 5, clock.now(), True, False)])
        assert (await client.stored()).confirmed_generation == 5


async def test_receipts_move_times_of_use_forward_only(stores: Stores, user: User, clock: FrozenClock) -> None:
    client = await log_in(stores, user)
    now = clock.now()
    await stores.sessions.confirm(
        [Receipt(client.sid, 1, now + 60, False, False), Receipt(client.sid, 1, now + 90, True, True)]
    )
    await stores.sessions.confirm(
        [Receipt(client.sid, 1, now + 30, False, False), Receipt(client.sid, 1, now + 30, True, True)]
    )
    stored = await client.stored()
    assert (stored.last_seen_at, stored.last_passive_at) == (now + 60, now + 90)
    assert stored.confirmed_generation == 1


async def test_receipts_of_ended_and_unknown_sessions_change_nothing(
    stores: Stores, user: User, clock: FrozenClock
) -> None:
    client, other = await log_in(stores, user), await log_in(stores, user)
    await stores.sessions.end(client.sid, RevokeReason.LOGOUT)
    before = await client.stored()
    late = clock.now() + 60
    await stores.sessions.confirm([])
    await stores.sessions.confirm([Receipt(sid, 1, late, True, False) for sid in ("unknown", client.sid, other.sid)])
    assert await client.stored() == before
    assert (await other.stored()).confirmed_generation == 1


async def test_until_when_the_newest_access_token_is_good(stores: Stores, user: User, clock: FrozenClock) -> None:
    now = clock.now()
    long, short, ended = [await put(stores, a_session(user.user_id, now, max_access_exp=now + n)) for n in (50, 7, 9)]
    over = await put(stores, a_session(user.user_id, now, idle_expires_at=now + 1))
    await stores.sessions.end(ended.sid, RevokeReason.LOGOUT)
    clock.advance(1)
    asked = [long.sid, short.sid, ended.sid, over.sid, "unknown", '"]']
    assert await stores.sessions.access_until(asked) == {long.sid: now + 50, short.sid: now + 7}
    assert await stores.sessions.access_until([]) == {}
