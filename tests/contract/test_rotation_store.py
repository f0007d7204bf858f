"""SessionStore.rotate: the decision is applied as it stands, in one step."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from support.clock import FrozenClock
from support.stores import LAPTOP, PHONE, POLICY, Client, a_user, log_in

from gateway.credentials.user import User
from gateway.sessions.decision import Outcome, Reason
from gateway.sessions.policy import BindingMode, OnReuse
from gateway.sessions.ports import Ended, FeedKind, Receipt, Rotation
from gateway.sessions.session import Channel, RevokeReason
from gateway.stores.bundle import Stores
from gateway.stores.transitions import DENIAL_LEEWAY, HISTORY_MARGIN, THEFT_MEMORY

W, S, R = POLICY.in_flight_window, POLICY.late_window, POLICY.receipt_after
EPS = 0.001


def outcomes(rotations: Sequence[Rotation]) -> list[Outcome]:
    return [rotation.decision.outcome for rotation in rotations]


async def rotated(client: Client, clock: FrozenClock, times: int = 1, pause: float = 300.0) -> None:
    """Rotate `times`, leaving `pause` seconds after each but the last."""
    for number in range(times):
        generation = (await client.stored()).generation
        assert (await client.present(generation)).decision.outcome is Outcome.ROTATED
        if number < times - 1:
            clock.advance(pause)


async def test_a_rotation_says_what_it_read_and_what_it_wrote(stores: Stores, user: User, clock: FrozenClock) -> None:
    client = await log_in(stores, user)
    before = await client.stored()
    clock.advance(100)
    rotation = await client.present(1)
    assert (rotation.before, rotation.user, rotation.now, rotation.ended) == (before, user, clock.now(), Ended())
    assert rotation.decision.outcome is Outcome.ROTATED
    assert rotation.decision.successor == 2
    assert rotation.decision.session == await client.stored()
    assert (await client.stored()).generation == 2


async def test_an_unknown_session_is_dead(stores: Stores, user: User) -> None:
    rotation = await Client(stores, "unknown").present(1)
    assert (rotation.decision.outcome, rotation.decision.reason) == (Outcome.DEAD, Reason.UNKNOWN)
    assert (rotation.before, rotation.user, rotation.ended) == (None, None, Ended())


async def test_dead_sessions_stay_as_they_are(stores: Stores, user: User, clock: FrozenClock) -> None:
    revoked, expired = await log_in(stores, user), await log_in(stores, user, idle_expires_at=clock.now() + 5)
    await stores.sessions.end(revoked.sid, RevokeReason.LOGOUT)
    clock.advance(5)
    for client, reason in ((revoked, Reason.REVOKED), (expired, Reason.EXPIRED)):
        before = await client.stored()
        assert (await client.present(1)).decision.reason is reason
        assert await client.stored() == before


async def test_the_user_is_read_in_the_same_step(stores: Stores, user: User) -> None:
    client = await log_in(stores, user)
    await stores.users.set_roles(user.user_id, ("admin",))
    assert (await client.present(1)).user == replace(user, roles=("admin",), epoch=1)
    await stores.users.remove(user.user_id)
    rotation = await client.present(2)
    assert (rotation.decision.outcome, rotation.user) == (Outcome.DEAD, None)


async def test_fifty_at_once_make_one_generation(stores: Stores, user: User) -> None:
    client = await log_in(stores, user)
    rotations = await asyncio.gather(*(client.present(1) for _ in range(50)))
    assert outcomes(rotations).count(Outcome.ROTATED) == 1
    assert outcomes(rotations).count(Outcome.RACE) == 49
    assert {rotation.decision.successor for rotation in rotations} == {2, None}
    assert (await client.stored()).generation == 2


async def test_the_loser_of_a_race_gets_no_cookie_but_a_body(stores: Stores, user: User) -> None:
    for channel, successor in ((Channel.COOKIE, None), (Channel.BODY, 2)):
        client = await log_in(stores, user, channel=channel)
        await client.present(1)
        decision = (await client.present(1)).decision
        assert (decision.outcome, decision.successor) == (Outcome.RACE, successor)
        assert decision.grant is not None and decision.grant.generation == 1 and decision.grant.delivery == -1


async def test_a_retry_gets_the_same_successor(stores: Stores, user: User, clock: FrozenClock) -> None:
    client = await log_in(stores, user)
    await client.present(1)
    for delivery in (2, 3):
        clock.advance(W + EPS)
        rotation = await client.present(1)
        assert (rotation.decision.outcome, rotation.decision.successor) == (Outcome.RETRY, 2)
        stored = await client.stored()
        assert (stored.generation, stored.delivery, stored.rotated_at) == (2, delivery, clock.now())


async def test_a_retry_denies_the_earlier_deliveries(stores: Stores, user: User, clock: FrozenClock) -> None:
    client = await log_in(stores, user)
    await client.present(1)
    reach = (await client.stored()).max_access_exp
    clock.advance(W + EPS)
    rotation = await client.present(1)
    assert rotation.ended.sessions == ()
    (entry,) = rotation.ended.feed
    assert (entry.kind, entry.key, entry.value) == (FeedKind.DELIVERY, client.sid, 2 * 65536 + 2)
    assert entry.expires_at == reach + DENIAL_LEEWAY
    assert await stores.sessions.feed(0) == (entry,)


async def test_both_edges_of_the_race_window(stores: Stores, user: User, clock: FrozenClock) -> None:
    for later, outcome in ((W - EPS, Outcome.RACE), (W + EPS, Outcome.RETRY)):
        client = await log_in(stores, user)
        await client.present(1)
        clock.advance(later)
        assert (await client.present(1)).decision.outcome is outcome


async def test_both_edges_of_the_late_window(stores: Stores, user: User, clock: FrozenClock) -> None:
    for later, outcome in ((S - EPS, Outcome.SUPERSEDED), (S + EPS, Outcome.THEFT)):
        client = await log_in(stores, user)
        await rotated(client, clock, 2, pause=0.0)
        clock.advance(later)
        assert (await client.present(1)).decision.outcome is outcome


async def test_a_moved_retirement_moves_the_late_window(stores: Stores, user: User, clock: FrozenClock) -> None:
    client = await log_in(stores, user)
    await client.present(1)
    clock.advance(S - 1)
    assert (await client.present(1)).decision.outcome is Outcome.RETRY
    await client.present(2)
    clock.advance(S - 1)
    assert (await client.present(1)).decision.outcome is Outcome.SUPERSEDED


async def test_a_receipt_closes_the_retry(stores: Stores, user: User, clock: FrozenClock) -> None:
    client = await log_in(stores, user)
    await client.present(1)
    clock.advance(R)
    await stores.sessions.confirm([Receipt(client.sid, 2, clock.now(), True, False)])
    assert (await client.present(1)).decision.outcome is Outcome.SUPERSEDED
    clock.advance(S)
    assert (await client.present(1)).decision.outcome is Outcome.THEFT


async def test_neither_an_early_nor_a_losers_token_closes_it(stores: Stores, user: User, clock: FrozenClock) -> None:
    client = await log_in(stores, user)
    await client.present(1)
    await stores.sessions.confirm([Receipt(client.sid, 2, clock.now(), False, False)])
    await stores.sessions.confirm([Receipt(client.sid, 1, clock.now(), True, False)])
    clock.advance(W + EPS)
    assert (await client.present(1)).decision.outcome is Outcome.RETRY


async def test_two_rotations_in_one_second(stores: Stores, user: User, clock: FrozenClock) -> None:
    client = await log_in(stores, user)
    await rotated(client, clock, 2, pause=0.0)
    assert outcomes([await client.present(g) for g in (1, 2, 3)]) == [
        Outcome.SUPERSEDED,
        Outcome.RACE,
        Outcome.ROTATED,
    ]


async def test_ahead_takes_the_clients_word(stores: Stores, user: User) -> None:
    client = await log_in(stores, user)
    decision = (await client.present(41)).decision
    assert (decision.outcome, decision.successor) == (Outcome.AHEAD, 42)
    assert (await client.stored()).generation == 42


async def test_a_clock_that_stepped_back_accuses_nobody(stores: Stores, user: User, clock: FrozenClock) -> None:
    client = await log_in(stores, user)
    await rotated(client, clock, 2, pause=0.0)
    clock.step(-3600)
    assert outcomes([await client.present(g) for g in (1, 2)]) == [Outcome.SUPERSEDED] * 2
    clock.step(3600 + W + EPS)
    assert (await client.present(2)).decision.outcome is Outcome.RETRY


async def test_age_counts_from_arrival(stores: Stores, user: User, clock: FrozenClock) -> None:
    client = await log_in(stores, user)
    await client.present(1)
    clock.advance(W + 5)
    assert (await client.present(1, waited=6.0)).decision.outcome is Outcome.RACE


async def test_a_queued_request_keeps_its_history(stores: Stores, user: User, clock: FrozenClock) -> None:
    client = await log_in(stores, user)
    await rotated(client, clock, 2, pause=0.0)
    clock.advance(S + W - 1)
    await rotated(client, clock)
    assert (await client.present(1, waited=W)).decision.outcome is Outcome.SUPERSEDED


async def test_what_history_forgets_is_theft(stores: Stores, user: User, clock: FrozenClock) -> None:
    client = await log_in(stores, user)
    await rotated(client, clock, 3, pause=S + HISTORY_MARGIN + 1)
    decision = (await client.present(1)).decision
    assert (decision.outcome, decision.age, decision.distance) == (Outcome.THEFT, None, 3)


async def test_history_is_bounded(stores: Stores, user: User, clock: FrozenClock) -> None:
    client = await log_in(stores, user)
    await rotated(client, clock, 258, pause=0.0)
    assert outcomes([await client.present(3), await client.present(2)]) == [Outcome.SUPERSEDED, Outcome.THEFT]


async def test_another_device_gets_nothing_and_ends_nothing(stores: Stores, user: User, clock: FrozenClock) -> None:
    unbound = replace(POLICY, device_binding=BindingMode.OFF)
    for policy, outcome in ((POLICY, Outcome.CHALLENGED), (unbound, Outcome.SUPERSEDED)):
        client = await log_in(stores, user, policy)
        await client.present(1)
        for pause in (0.0, W + EPS):
            clock.advance(pause)
            decision = (await client.present(1, PHONE)).decision
            assert (decision.outcome, decision.grant, decision.successor) == (outcome, None, None)
        assert (await client.stored()).revoked_at is None


async def test_theft_ends_every_session_of_the_user(stores: Stores, user: User, clock: FrozenClock) -> None:
    client, other = await log_in(stores, user), await log_in(stores, user)
    bob = a_user("bob")
    await stores.users.add(bob)
    bystander = await log_in(stores, bob)
    await rotated(client, clock, 3)
    rotation = await client.present(1)
    assert rotation.decision.outcome is Outcome.THEFT
    assert {session.sid for session in rotation.ended.sessions} == {client.sid, other.sid}
    assert {session.reason for session in rotation.ended.sessions} == {RevokeReason.REUSE}
    assert [(entry.kind, entry.key, entry.value) for entry in rotation.ended.feed] == [(FeedKind.USER, user.user_id, 1)]
    after = await stores.users.by_id(user.user_id)
    assert after is not None and after.epoch == 1
    for dead in (client, other):
        generation = (await dead.stored()).generation
        assert (await dead.present(generation)).decision.reason is Reason.REVOKED
    assert (await bystander.present(1)).decision.outcome is Outcome.ROTATED


async def test_theft_of_what_nobody_presented_ends_one_session(stores: Stores, user: User, clock: FrozenClock) -> None:
    client, other = await log_in(stores, user), await log_in(stores, user)
    await client.present(1)
    clock.advance(R)
    await stores.sessions.confirm([Receipt(client.sid, 2, clock.now(), True, False)])
    clock.advance(S)
    rotation = await client.present(1)
    assert [session.sid for session in rotation.ended.sessions] == [client.sid]
    assert [(entry.kind, entry.key) for entry in rotation.ended.feed] == [(FeedKind.SESSION, client.sid)]
    assert [session.sid for session in await stores.sessions.list_live()] == [other.sid]


async def test_a_second_theft_within_a_day_widens(stores: Stores, user: User, clock: FrozenClock) -> None:
    gentle = replace(POLICY, on_reuse=OnReuse.REVOKE_SESSION)
    ended = []
    for pause in (0.0, THEFT_MEMORY / 2, 2 * THEFT_MEMORY):
        clock.advance(pause)
        fresh = await stores.users.by_id(user.user_id)
        assert fresh is not None
        client, other = await log_in(stores, fresh, gentle), await log_in(stores, fresh, gentle)
        await rotated(client, clock, 3)
        ended.append({session.sid for session in (await client.present(1)).ended.sessions} >= {client.sid, other.sid})
        await stores.sessions.end(other.sid, RevokeReason.LOGOUT)
    assert ended == [False, True, False]


async def test_stray_bytes_in_a_user_agent_fail_no_refresh(stores: Stores, user: User) -> None:
    client = await log_in(stores, user)
    rotation = await client.present(1, replace(LAPTOP, user_agent="curl/\udcff8"))
    assert rotation.decision.outcome is Outcome.ROTATED
    assert (await client.stored()).seen.user_agent == "curl/?8"


@pytest.mark.parametrize("by", ["end", "end_user", "set_active", "set_password", "remove"])
@pytest.mark.parametrize("refresh_first", [True, False])
async def test_a_refresh_beside_a_revocation_leaves_nothing_usable(
    stores: Stores, user: User, by: str, refresh_first: bool
) -> None:
    client = await log_in(stores, user)
    revocations = {
        "end": lambda: stores.sessions.end(client.sid, RevokeReason.LOGOUT),
        "end_user": lambda: stores.sessions.end_user(user.user_id, RevokeReason.LOGOUT_ALL),
        "set_active": lambda: stores.users.set_active(user.user_id, False),
        "set_password": lambda: stores.users.set_password(user.user_id, "new"),
        "remove": lambda: stores.users.remove(user.user_id),
    }
    calls = [client.present(1), revocations[by]()]
    results = await asyncio.gather(*(calls if refresh_first else reversed(calls)))
    rotation, ended = results if refresh_first else reversed(results)
    assert isinstance(rotation, Rotation) and isinstance(ended, Ended)
    # A store that serves several at once may take the later call first; tests/faults holds each order on purpose.
    refreshed = rotation.decision.outcome is Outcome.ROTATED
    assert refreshed or rotation.decision.outcome is Outcome.DEAD
    # What was issued is denied for as long as it could live, and its successor is dead.
    (entry,) = ended.feed
    issued_until = rotation.decision.grant.expires_at if rotation.decision.grant is not None else 0.0
    assert entry.expires_at > issued_until
    assert entry.key in (client.sid, user.user_id)
    if refreshed and entry.kind is FeedKind.USER:
        assert rotation.user is not None and rotation.user.epoch < entry.value
    for generation in (1, 2):
        assert (await client.present(generation)).decision.outcome is Outcome.DEAD
    assert await stores.sessions.list_live() == ()
