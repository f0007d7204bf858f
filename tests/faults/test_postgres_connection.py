"""A connection to PostgreSQL that breaks, stalls or is not to be had: nothing is done twice, nothing hangs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest
from support import postgres
from support.clock import FrozenClock
from support.credentials import Recorder
from support.proxying import CLAIMS
from support.relay import Relay, relay_to
from support.stores import POLICY, Client, a_user, log_in

from gateway.credentials.user import User
from gateway.errors import NotFound, StoreBusy, StoreUnavailable
from gateway.sessions.decision import Outcome
from gateway.sessions.receipts import ReceiptQueue
from gateway.sessions.session import Channel, RevokeReason
from gateway.stores.bundle import Stores
from gateway.stores.postgres import open_postgres
from gateway.stores.postgres.sessions import PostgresSessions

W = POLICY.in_flight_window


@dataclass
class Far:
    """A store at the other end of a relay, with a user."""

    stores: Stores
    relay: Relay
    clock: FrozenClock
    user: User


@asynccontextmanager
async def far_store(*, busy_timeout: float = 5.0, pool: int = 2, query: str = "") -> AsyncIterator[Far]:
    await postgres.server().wipe()
    clock = FrozenClock()
    async with relay_to(postgres.server().port) as relay:
        url = postgres.server().url(port=relay.port, query=query)
        stores = await open_postgres(url, clock=clock, busy_timeout=busy_timeout, pool=pool, wall=clock)
        user = a_user()
        await stores.users.add(user)
        try:
            yield Far(stores, relay, clock, user)
        finally:
            relay.running.set()
            await stores.database.close()


@pytest.fixture
async def far() -> AsyncIterator[Far]:
    async with far_store() as made:
        yield made


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await condition():
            await asyncio.sleep(0.01)


async def test_an_answer_lost_after_the_commit_is_retried_safely(far: Far) -> None:
    client = await log_in(far.stores, far.user)
    far.relay.lose_answer_to = client.sid.encode()
    with pytest.raises(StoreUnavailable):
        await client.present(1)
    assert (await client.stored()).generation == 2
    again = await client.present(1)
    assert (again.decision.outcome, again.decision.successor) == (Outcome.RACE, None)
    far.clock.advance(W + 1)
    retried = await client.present(1)
    assert (retried.decision.outcome, retried.decision.successor) == (Outcome.RETRY, 2)
    assert (await client.present(2)).decision.outcome is Outcome.ROTATED


async def test_a_statement_that_never_arrived_did_nothing(far: Far) -> None:
    client = await log_in(far.stores, far.user)
    far.relay.lose_request = client.sid.encode()
    with pytest.raises(StoreUnavailable):
        await client.present(1)
    assert (await client.present(1)).decision.outcome is Outcome.ROTATED


async def test_a_commit_that_never_arrived_is_rolled_back(far: Far) -> None:
    client = await log_in(far.stores, far.user)
    far.relay.lose_request = b"COMMIT"
    with pytest.raises(StoreUnavailable):
        await far.stores.sessions.end(client.sid, RevokeReason.LOGOUT)
    assert await far.stores.sessions.feed(0) == ()
    ended = await far.stores.sessions.end(client.sid, RevokeReason.LOGOUT)
    assert [session.sid for session in ended.sessions] == [client.sid]


async def test_a_commit_whose_answer_was_lost_stands(far: Far) -> None:
    client = await log_in(far.stores, far.user)
    far.relay.lose_answer_to = b"COMMIT"
    with pytest.raises(StoreUnavailable):
        await far.stores.sessions.end(client.sid, RevokeReason.LOGOUT)

    async def committed() -> bool:
        return [entry.key for entry in await far.stores.sessions.feed(0)] == [client.sid]

    await eventually(committed)
    assert (await client.present(1)).decision.outcome is Outcome.DEAD


async def test_a_read_that_was_lost_is_told_and_can_be_repeated(far: Far) -> None:
    far.relay.lose_request = b"unlikely-name"
    with pytest.raises(StoreUnavailable):
        await far.stores.users.list_users(after="unlikely-name")
    assert await far.stores.users.list_users() == (far.user,)


async def test_a_refusal_whose_rollback_was_lost_is_still_that_refusal(far: Far) -> None:
    far.relay.lose_request = b"ROLLBACK"
    with pytest.raises(NotFound):
        await far.stores.users.set_active("nobody", False)
    assert await far.stores.users.list_users() == (far.user,)


async def test_a_call_cancelled_in_its_rollback_gives_its_connection_back() -> None:
    async with far_store(pool=1) as small:
        small.relay.stall_at = b"ROLLBACK"
        call = asyncio.ensure_future(small.stores.users.set_active("nobody", False))
        await eventually(small.relay.is_stalled)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        small.relay.running.set()
        assert await small.stores.users.list_users() == (small.user,)


async def test_a_log_in_whose_commit_was_lost_leaves_a_session_that_makes_room_for_the_next(far: Far) -> None:
    far.relay.lose_answer_to = b"COMMIT"
    with pytest.raises(StoreUnavailable):
        await log_in(far.stores, far.user)

    async def committed() -> bool:
        return len(await far.stores.sessions.list_live(far.user.user_id)) == 1

    await eventually(committed)
    (orphan,) = await far.stores.sessions.list_live(far.user.user_id)
    client = await log_in(far.stores, far.user, replace(POLICY, max_per_user=1))
    assert [session.sid for session in await far.stores.sessions.list_live(far.user.user_id)] == [client.sid]
    assert [entry.key for entry in await far.stores.sessions.feed(0)] == [orphan.sid]
    assert (await client.present(1)).decision.outcome is Outcome.ROTATED


async def test_a_receipt_whose_answer_was_lost_is_written_again_and_counts_once(far: Far) -> None:
    client = await log_in(far.stores, far.user)
    await client.present(1)
    pause = asyncio.Event()
    receipts = ReceiptQueue(far.stores.sessions, far.clock, Recorder(), pause=lambda _: pause.wait())
    receipts.note(replace(CLAIMS, session_id=client.sid, generation=2, receipt_at=int(far.clock.now())), False)
    far.relay.lose_answer_to = client.sid.encode()
    with pytest.raises(StoreUnavailable):
        await receipts.flush(client.sid)
    assert len(receipts) == 1
    assert (await client.stored()).confirmed_generation == 2
    await receipts.flush(client.sid)
    assert len(receipts) == 0
    far.clock.advance(W + 1)
    assert (await client.present(1)).decision.outcome is Outcome.SUPERSEDED  # the receipt closed the retry
    assert (await client.present(2)).decision.outcome is Outcome.ROTATED
    await receipts.close()


async def test_a_retry_whose_commit_was_lost_hands_out_the_same_successor(far: Far) -> None:
    client = await log_in(far.stores, far.user)
    await client.present(1)
    far.clock.advance(W + 1)
    far.relay.lose_answer_to = b"COMMIT"
    with pytest.raises(StoreUnavailable):
        await client.present(1)

    async def delivered() -> bool:
        return (await client.stored()).delivery == 2

    await eventually(delivered)
    far.clock.advance(W + 1)
    assert (await client.present(1)).decision.successor == 2
    assert (await client.stored()).delivery == 3


async def test_a_database_that_does_not_answer_is_not_waited_for(far: Far) -> None:
    async with far_store(busy_timeout=0.1, pool=2) as slow:
        client = await log_in(slow.stores, slow.user)
        slow.relay.running.clear()
        with pytest.raises(StoreBusy):
            await client.present(1)
        slow.relay.running.set()
        # What it was doing may have been done: a retry is safe either way.
        assert (await client.present(1)).decision.outcome in {Outcome.RACE, Outcome.ROTATED}


async def test_a_late_answer_is_still_taken(far: Far) -> None:
    client = await log_in(far.stores, far.user)
    far.relay.running.clear()
    calls = [asyncio.ensure_future(client.present(1)) for _ in range(6)]  # more than there are connections
    done, _ = await asyncio.wait(calls, timeout=0.3)
    assert not done
    far.relay.running.set()
    outcomes = [rotation.decision.outcome for rotation in await asyncio.gather(*calls)]
    assert sorted(outcomes) == [Outcome.RACE] * 5 + [Outcome.ROTATED]


async def test_a_lock_is_not_waited_for_longer_than_agreed() -> None:
    async with far_store(busy_timeout=0.3) as far:
        client = await log_in(far.stores, far.user)
        other = await postgres.server().connect()
        async with other.transaction():
            await other.execute("SELECT 1 FROM sessions WHERE sid = $1 FOR UPDATE", client.sid)
            with pytest.raises(StoreBusy) as caught:
                await client.present(1)
            assert caught.value.retry_after == 1
            assert "LockNotAvailable" in str(caught.value.debug)
            assert (await client.stored()).generation == 1
        assert (await client.present(1)).decision.outcome is Outcome.ROTATED
        await other.close()


async def test_a_lock_is_not_waited_for_behind_a_pooler_either() -> None:
    async with far_store(busy_timeout=0.3, query="?pgbouncer=true") as far:
        client = await log_in(far.stores, far.user)
        other = await postgres.server().connect()
        async with other.transaction():
            await other.execute("SELECT 1 FROM users WHERE user_id = $1 FOR UPDATE", far.user.user_id)
            with pytest.raises(StoreBusy):
                await client.present(1)
        assert (await client.present(1)).decision.outcome is Outcome.ROTATED
        await other.close()


async def test_more_callers_than_connections_wait_and_then_are_told(far: Far) -> None:
    async with far_store(busy_timeout=0.3, pool=1) as small:
        client = await log_in(small.stores, small.user)
        other = await postgres.server().connect()
        async with other.transaction():
            await other.execute("SELECT 1 FROM sessions WHERE sid = $1 FOR UPDATE", client.sid)
            results = await asyncio.gather(
                client.present(1), *(small.stores.users.list_users() for _ in range(20)), return_exceptions=True
            )
        assert isinstance(results[0], StoreBusy)
        # The lock and the connection are waited for equally long, so some of them may just have made it.
        assert all(isinstance(result, StoreBusy | tuple) for result in results[1:])
        assert any("connections are in use" in str(result) for result in results)
        # Whoever comes afterwards finds the connection back.
        assert len(await small.stores.users.list_users()) == 1
        twenty = await asyncio.gather(*(client.present(1) for _ in range(20)))
        assert [rotation.decision.outcome for rotation in twenty].count(Outcome.ROTATED) == 1
        await other.close()


async def test_a_deadlock_is_busy_and_leaves_no_lock_behind(far: Far) -> None:
    assert isinstance(far.stores.sessions, PostgresSessions)
    work = far.stores.sessions._work
    first, second = [(await log_in(far.stores, far.user)).sid for _ in range(2)]
    held = asyncio.Barrier(2)

    def lock(one: str, other: str) -> Awaitable[None]:
        async def both(transaction) -> None:  # type: ignore[no-untyped-def]
            sql = "SELECT 1 FROM sessions WHERE sid = $1 FOR UPDATE"
            await transaction.execute(sql, one)
            await held.wait()
            await transaction.execute(sql, other)

        return work.run(both)

    results = await asyncio.gather(lock(first, second), lock(second, first), return_exceptions=True)
    assert [type(result) for result in results if result is not None] == [StoreBusy]
    for sid in (first, second):
        rotation = await Client(far.stores, sid, channel=Channel.COOKIE).present(1)
        assert rotation.decision.outcome is Outcome.ROTATED


async def test_a_server_that_ends_or_turns_read_only_is_left_at_once(far: Far) -> None:
    client = await log_in(far.stores, far.user)
    admin = await postgres.server().connect()
    others = "FROM pg_stat_activity WHERE usename = 'gateway' AND query NOT LIKE 'LISTEN%'"
    await admin.execute(f"SELECT pg_terminate_backend(pid, 5000) {others}")
    assert (await client.present(1)).decision.outcome is Outcome.ROTATED
    assert isinstance(far.stores.sessions, PostgresSessions)
    before = await admin.fetch(f"SELECT pid {others}")
    with pytest.raises(StoreUnavailable):  # as a primary that became a standby answers
        await far.stores.sessions._work.run(lambda t: t.execute("SET TRANSACTION READ ONLY; DELETE FROM marks"))
    assert (await client.present(2)).decision.outcome is Outcome.ROTATED
    assert await admin.fetch(f"SELECT pid {others}") != before
    await admin.close()


async def test_a_cancelled_call_gives_its_connection_back() -> None:
    async with far_store(pool=1) as far:
        client = await log_in(far.stores, far.user)
        far.relay.running.clear()
        calls = [asyncio.ensure_future(client.stored()) for _ in range(3)]
        await asyncio.sleep(0.05)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        far.relay.running.set()
        assert (await client.present(1)).decision.outcome is Outcome.ROTATED
