"""The follower: ready only when everything is loaded, true to the feed, and not to be killed by a store."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator

import pytest
from support.sessions import Pauses, SessionBench, until
from support.tokens import make_claims

from gateway.errors import StoreBusy, StoreUnavailable
from gateway.events import Name
from gateway.sessions.denial import Denial, RevocationIndex
from gateway.sessions.ports import FeedEntry, FeedKind
from gateway.sessions.revocation import RevocationFollower
from gateway.sessions.session import RevokeReason
from gateway.stores.transitions import DENIAL_LEEWAY


class FollowerBench(SessionBench):
    """A second process: its own index, fed by the follower alone."""

    def __init__(self) -> None:
        super().__init__()
        self.other = RevocationIndex()
        self.sleeps = Pauses()
        self.follower = RevocationFollower(self.store, self.other, self.clock, self.events, pause=self.sleeps)

    def denied(self, sid: str) -> Denial | None:
        return self.other.denial(make_claims(self.clock, session_id=sid))

    def rewind(self) -> None:
        """Put an older, shorter feed in the store's place, as a restored backup would."""
        database = self.stores.sessions._db  # type: ignore[attr-defined]
        database.feed.clear()
        database._seq = 0


@pytest.fixture
async def bench() -> AsyncIterator[FollowerBench]:
    bench = FollowerBench()
    yield bench
    await bench.follower.stop()
    await bench.stores.database.close()


async def test_everything_unexpired_is_loaded_before_ready(bench: FollowerBench) -> None:
    issued = await bench.login()
    await bench.service.end(issued.session.sid, RevokeReason.ADMIN, None)
    assert not bench.follower.ready
    assert bench.follower.staleness() == math.inf
    await bench.follower.start()
    assert bench.follower.ready
    assert bench.follower.staleness() == 0.0
    assert bench.denied(issued.session.sid) is Denial.SESSION


async def test_a_store_that_cannot_be_read_means_not_started(bench: FollowerBench) -> None:
    bench.store.fail["feed"] = StoreUnavailable(debug="disk on fire")
    with pytest.raises(StoreUnavailable):
        await bench.follower.start()
    assert not bench.follower.ready
    await bench.follower.stop()


async def test_ends_elsewhere_arrive(bench: FollowerBench) -> None:
    one, two = await bench.login(), await bench.login()
    await bench.follower.start()
    await bench.follower.start()
    await bench.service.end(one.session.sid, RevokeReason.ADMIN, None)
    await until(lambda: bench.denied(one.session.sid) is not None)
    await bench.service.end(two.session.sid, RevokeReason.ADMIN, None)
    await until(lambda: bench.denied(two.session.sid) is not None)
    await bench.follower.stop()
    assert bench.denied(one.session.sid) is Denial.SESSION


async def test_each_read_starts_where_the_last_one_ended(bench: FollowerBench) -> None:
    sids = [(await bench.login()).session.sid for _ in range(3)]
    await bench.follower.load()
    for sid in sids:
        await bench.service.end(sid, RevokeReason.ADMIN, None)
        await bench.follower.poll()
        await bench.follower.poll()
    starts = [args[0] for name, args in bench.store.calls if name == "feed"]
    assert starts == [0, 0, 0, 0, 1, 1, 2]
    assert all(bench.denied(sid) for sid in sids)


async def test_now_and_then_the_last_minute_is_read_again(bench: FollowerBench) -> None:
    sids = [(await bench.login()).session.sid for _ in range(3)]
    await bench.follower.load()
    for sid in sids:
        await bench.service.end(sid, RevokeReason.ADMIN, None)
        await bench.follower.poll()
        bench.clock.advance(31)
    await bench.follower.poll()
    bench.clock.advance(9)
    await bench.follower.poll()
    starts = [args[0] for name, args in bench.store.calls if name == "feed"]
    # 93 s after the first entry, the second is the newest of more than a minute ago.
    assert starts[-2:] == [1, 2]


@pytest.mark.parametrize("error", [StoreBusy(debug="locked"), StoreUnavailable(), RuntimeError("a bug")])
async def test_errors_are_backed_off_and_survived(bench: FollowerBench, error: Exception) -> None:
    issued = await bench.login()
    await bench.follower.start()
    bench.store.fail["feed"] = error
    await bench.service.end(issued.session.sid, RevokeReason.ADMIN, None)
    bench.events.take()
    await until(lambda: len(bench.sleeps.seconds) >= 12)
    bench.clock.advance(6)
    assert bench.follower.staleness() == 6.0
    assert bench.denied(issued.session.sid) is None
    assert bench.events.names() == [Name.STORE_FAILED]
    assert max(bench.sleeps.seconds) == 1.0
    assert bench.sleeps.seconds[-12:] == sorted(bench.sleeps.seconds[-12:])
    bench.store.fail.clear()
    await until(lambda: bench.denied(issued.session.sid) is not None)
    assert bench.follower.staleness() == 0.0


async def test_a_follower_without_a_sink_keeps_quiet_about_errors(bench: FollowerBench) -> None:
    sleeps = Pauses()
    follower = RevocationFollower(bench.store, bench.other, bench.clock, pause=sleeps)
    await follower.start()
    bench.store.fail["feed_changed"] = StoreBusy()
    await until(lambda: len(sleeps.seconds) > 3)
    assert follower.ready
    await follower.stop()


async def test_a_store_that_went_back_makes_it_start_again(bench: FollowerBench) -> None:
    sids = [(await bench.login()).session.sid for _ in range(3)]
    for sid in sids:
        await bench.service.end(sid, RevokeReason.ADMIN, None)
    await bench.follower.load()
    bench.rewind()
    fresh = await bench.login()
    await bench.service.end(fresh.session.sid, RevokeReason.ADMIN, None)
    await bench.follower.poll()
    assert bench.denied(fresh.session.sid) is Denial.SESSION
    assert [bench.denied(sid) for sid in sids] == [None, None, None]


async def test_a_store_with_another_entry_under_the_same_number_is_another_feed(bench: FollowerBench) -> None:
    old, new = await bench.login(), await bench.login()
    await bench.service.end(old.session.sid, RevokeReason.ADMIN, None)
    await bench.follower.load()
    bench.rewind()
    await bench.service.end(new.session.sid, RevokeReason.ADMIN, None)
    await bench.follower.poll()
    assert bench.denied(new.session.sid) is Denial.SESSION
    assert bench.denied(old.session.sid) is None


async def test_an_expired_start_is_no_alarm(bench: FollowerBench) -> None:
    database = bench.stores.sessions._db  # type: ignore[attr-defined]
    now = bench.clock.now()
    long = FeedEntry(1, FeedKind.SESSION, "long", 0, now + 5000)
    short = FeedEntry(2, FeedKind.SESSION, "short", 0, now + 50)
    database.feed.extend((long, short))
    database._seq = 2
    await bench.follower.load()
    bench.clock.advance(51)
    bench.other.apply([FeedEntry(3, FeedKind.SESSION, "own", 0, now + 5000)])
    await bench.follower.poll()
    assert bench.denied("long") is Denial.SESSION
    # Replacing the index would have lost what this process applied by itself.
    assert bench.denied("own") is Denial.SESSION
    await bench.follower.poll()
    assert [args[0] for name, args in bench.store.calls if name == "feed"][-1] == 0


async def test_expired_denials_are_forgotten_while_following(bench: FollowerBench) -> None:
    issued = await bench.login()
    await bench.service.end(issued.session.sid, RevokeReason.ADMIN, None)
    await bench.follower.start()
    assert len(bench.other) == 1
    bench.clock.advance(bench.policy.access_ttl + DENIAL_LEEWAY + 1)
    database = bench.stores.sessions._db  # type: ignore[attr-defined]
    await until(lambda: bool(database.waiters))
    database._wake()
    await until(lambda: len(bench.other) == 0)
    assert bench.denied(issued.session.sid) is None
