"""Sessions from log-in to end, and what is said about them."""

from __future__ import annotations

import uuid

import pytest
from support.sessions import LAPTOP, SessionBench

from gateway.errors import InvalidCredentials, InvalidGrant, StoreBusy
from gateway.events import Level, Name
from gateway.sessions.decision import Outcome
from gateway.sessions.policy import RotationPolicy
from gateway.sessions.session import Channel, RevokeReason


@pytest.fixture
def bench() -> SessionBench:
    return SessionBench()


async def test_a_session_starts_with_generation_one_under_the_current_master_key(bench: SessionBench) -> None:
    user = await bench.add_user(email="ada@example.com", roles=("admin", "dev"))
    issued = await bench.service.start(user, Channel.BODY, bench.context(), ("pwd", "otp"))
    session = await bench.stored(issued)
    assert session == issued.session
    assert str(uuid.UUID(session.sid)) == session.sid
    assert (session.generation, session.delivery, session.kid, session.channel) == (1, 1, 2, Channel.BODY)
    assert (session.bound, session.seen) == (LAPTOP, LAPTOP)
    assert session.max_access_exp == bench.clock.now() + 900
    assert issued.outcome is Outcome.ROTATED
    assert (issued.expires_in, issued.refresh_expires_in) == (900, 24 * 3600)
    assert issued.rotated_at == bench.clock.now()
    assert bench.tokens.parse(issued.refresh_token or "").generation == 1


async def test_the_access_token_says_what_the_user_is(bench: SessionBench) -> None:
    user = await bench.add_user(email="ada@example.com", roles=("admin", "dev"))
    issued = await bench.service.start(user, Channel.BODY, bench.context(), ("pwd", "otp"))
    claims = bench.claims(issued)
    now = int(bench.clock.now())
    assert (claims.subject, claims.session_id, claims.username) == (user.user_id, issued.session.sid, "ada")
    assert (claims.generation, claims.delivery, claims.user_epoch) == (1, 1, 0)
    assert (claims.issued_at, claims.expires_at, claims.receipt_at, claims.auth_time) == (now, now + 900, now + 60, now)
    assert (claims.amr, claims.email, claims.roles) == (("pwd", "otp"), "ada@example.com", ("admin", "dev"))
    uuid.UUID(claims.token_id)


async def test_a_log_in_is_an_event(bench: SessionBench) -> None:
    user = await bench.add_user()
    issued = await bench.service.start(user, Channel.COOKIE, bench.context(), ("pwd",))
    (event,) = bench.events.events
    assert (event.name, event.level) == (Name.LOGIN_SUCCEEDED, Level.INFO)
    assert (event.user_id, event.session_id, event.request_id) == (user.user_id, issued.session.sid, "req-1")
    assert (event.address, event.user_agent) == (LAPTOP.address, LAPTOP.user_agent)
    assert event.fields == {"amr": ["pwd"], "device": "Firefox on Linux"}


async def test_no_life_is_longer_than_the_absolute_one() -> None:
    bench = SessionBench(RotationPolicy(absolute_ttl=600.0))
    issued = await bench.login()
    assert (issued.expires_in, issued.refresh_expires_in) == (600, 600)
    assert issued.session.idle_expires_at == issued.session.absolute_expires_at


async def test_the_longest_idle_session_makes_room(bench: SessionBench) -> None:
    bench = SessionBench(RotationPolicy(max_per_user=2))
    user = await bench.add_user()
    first = await bench.login(user)
    bench.clock.advance(1)
    second = await bench.login(user)
    bench.clock.advance(1)
    third = await bench.service.start(user, Channel.COOKIE, bench.context(), ("pwd",))
    assert bench.events.names() == [Name.LOGIN_SUCCEEDED, Name.SESSION_REVOKED]
    assert bench.events.events[1].session_id == first.session.sid
    assert bench.events.events[1].fields == {"reason": "evicted"}
    assert [bench.works(issued) for issued in (first, second, third)] == [False, True, True]


async def test_a_user_revoked_while_logging_in_gets_no_session(bench: SessionBench) -> None:
    user = await bench.add_user()
    await bench.service.end_user(user.user_id, RevokeReason.LOGOUT_ALL, None)
    with pytest.raises(InvalidCredentials):
        await bench.service.start(user, Channel.COOKIE, bench.context(), ("pwd",))
    assert await bench.service.list_sessions(user.user_id) == ()
    assert bench.events.events == []


async def test_ending_a_session_denies_its_tokens_at_once(bench: SessionBench) -> None:
    issued = await bench.login()
    assert bench.works(issued)
    assert await bench.service.end(issued.session.sid, RevokeReason.ADMIN, None)
    assert not bench.works(issued)
    (event,) = bench.events.events
    assert (event.name, event.level, event.fields) == (Name.SESSION_REVOKED, Level.INFO, {"reason": "admin"})
    assert (event.session_id, event.user_id) == (issued.session.sid, issued.user.user_id)
    assert (event.request_id, event.address, event.user_agent) == (None, None, None)
    assert not await bench.service.end(issued.session.sid, RevokeReason.ADMIN, None)
    assert len(bench.events.events) == 1


async def test_nobody_ends_the_session_of_another(bench: SessionBench) -> None:
    issued = await bench.login()
    assert not await bench.service.end(issued.session.sid, RevokeReason.USER_REVOKED, bench.context(), user_id="other")
    assert not await bench.service.end("unknown", RevokeReason.USER_REVOKED, bench.context())
    assert bench.works(issued)


async def test_ending_a_user_says_so_once_per_session(bench: SessionBench) -> None:
    user = await bench.add_user()
    sessions = [await bench.login(user) for _ in range(3)]
    assert await bench.service.end_user(user.user_id, RevokeReason.LOGOUT_ALL, bench.context()) == 3
    assert not any(bench.works(issued) for issued in sessions)
    assert {event.session_id for event in bench.events.events} == {issued.session.sid for issued in sessions}
    assert {event.fields["reason"] for event in bench.events.events} == {"logout_all"}
    again = await bench.stores.users.by_id(user.user_id)
    assert again is not None
    assert bench.works(await bench.login(again))


async def test_one_session_can_be_kept(bench: SessionBench) -> None:
    user = await bench.add_user()
    kept, other = await bench.login(user), await bench.login(user)
    ended = await bench.service.end_user(user.user_id, RevokeReason.PASSWORD_CHANGED, None, keep=kept.session.sid)
    assert ended == 1
    assert (bench.works(kept), bench.works(other)) == (True, False)


async def test_what_another_port_ended_is_announced(bench: SessionBench) -> None:
    issued = await bench.login()
    ended = await bench.stores.users.set_active(issued.user.user_id, False)
    bench.service.announce(ended, bench.context())
    assert not bench.works(issued)
    assert [event.fields["reason"] for event in bench.events.events] == ["user_disabled"]


async def test_sessions_are_listed_and_known_to_live(bench: SessionBench) -> None:
    user = await bench.add_user()
    one = await bench.login(user)
    bench.clock.advance(10)
    two = await bench.login(user)
    assert [s.sid for s in await bench.service.list_sessions(user.user_id)] == [two.session.sid, one.session.sid]
    assert await bench.service.is_live(one.session.sid)
    await bench.service.end(one.session.sid, RevokeReason.ADMIN, None)
    assert not await bench.service.is_live(one.session.sid)
    bench.clock.advance(24 * 3600)
    assert not await bench.service.is_live(two.session.sid)
    assert not await bench.service.is_live("unknown")


async def test_who_refreshed_has_a_longer_access_token_than_the_first(bench: SessionBench) -> None:
    first, other = await bench.login(), await bench.login()
    exp = first.session.max_access_exp
    bench.clock.advance(100)
    assert first.refresh_token is not None
    await bench.service.refresh(first.refresh_token, first.session.channel, bench.context())
    until = await bench.service.access_until((first.session.sid, other.session.sid, "unknown"))
    assert until == {first.session.sid: exp + 100, other.session.sid: exp}
    await bench.service.end(first.session.sid, RevokeReason.LOGOUT, None)
    assert await bench.service.access_until((first.session.sid,)) == {}


async def test_cleaning_up_ends_and_deletes_in_batches(bench: SessionBench) -> None:
    user = await bench.add_user()
    old = [await bench.login(user) for _ in range(5)]
    bench.clock.advance(24 * 3600)
    young = await bench.login(user)
    assert await bench.service.cleanup(2) == 5
    assert {event.fields["reason"] for event in bench.events.take()} == {"idle"}
    assert bench.store.count("expire") == 3
    assert await bench.service.cleanup(2) == 0
    bench.clock.advance(30 * 24 * 3600 + 1)
    assert await bench.service.cleanup(0) == 6
    assert [event.fields["reason"] for event in bench.events.events] == ["absolute"]
    assert await bench.stores.sessions.get(old[0].session.sid) is None
    assert await bench.stores.sessions.get(young.session.sid) is not None


async def test_cleaning_up_rests_between_batches_for_longer_than_they_took(bench: SessionBench) -> None:
    user = await bench.add_user()
    for _ in range(4):
        await bench.login(user)
    bench.clock.advance(24 * 3600)
    rests: list[float] = []

    async def slow() -> None:
        bench.clock.advance(0.25)

    async def rest(seconds: float) -> None:
        rests.append(seconds)

    bench.store.before["expire"] = slow
    assert await bench.service.cleanup(2, rest) == 4
    assert rests == [0.5, 0.5]


class TestLogout:
    """What ends a session at log-out, and what does not."""

    async def logout(self, bench: SessionBench, token: str | None, channel: Channel | None = Channel.COOKIE) -> None:
        await bench.service.logout(refresh_token=token, channel=channel, access=None, ctx=bench.context())

    async def test_the_current_refresh_token_ends_its_session(self, bench: SessionBench) -> None:
        issued = await bench.login()
        await self.logout(bench, issued.refresh_token)
        assert not bench.works(issued)
        (event,) = bench.events.events
        assert (event.fields, event.request_id) == ({"reason": "logout"}, "req-1")
        with pytest.raises(InvalidGrant):
            await bench.refresh(issued.refresh_token)

    async def test_twice_is_the_same_as_once(self, bench: SessionBench) -> None:
        issued = await bench.login()
        await self.logout(bench, issued.refresh_token)
        await self.logout(bench, issued.refresh_token)
        assert len(bench.events.events) == 1

    async def test_an_access_token_ends_its_session(self, bench: SessionBench) -> None:
        issued = await bench.login()
        claims = bench.claims(issued)
        await bench.service.logout(refresh_token=None, channel=None, access=claims, ctx=bench.context())
        assert not bench.works(issued)

    async def test_both_end_both(self, bench: SessionBench) -> None:
        one, two = await bench.login(), await bench.login()
        await bench.service.logout(
            refresh_token=one.refresh_token, channel=Channel.COOKIE, access=bench.claims(two), ctx=bench.context()
        )
        assert (bench.works(one), bench.works(two)) == (False, False)

    async def test_forged_tokens_end_nothing_and_are_not_looked_up(self, bench: SessionBench) -> None:
        issued = await bench.login()
        bench.store.calls.clear()
        for token in ("", "x", "gwr_" + "A" * 71, (issued.refresh_token or "")[:-1] + "x"):
            await self.logout(bench, token)
        assert bench.store.calls == []
        assert bench.works(issued)

    async def test_the_token_of_a_session_that_never_was_ends_nothing(self, bench: SessionBench) -> None:
        await self.logout(bench, bench.tokens.issue(2, str(uuid.uuid4()), 1))
        assert bench.store.count("end") == 0

    async def test_an_expired_token_ends_nothing(self, bench: SessionBench) -> None:
        issued = await bench.login()
        bench.clock.advance(24 * 3600)
        await self.logout(bench, issued.refresh_token)
        assert bench.store.count("end") == 0

    async def test_a_token_counts_only_the_way_it_came(self, bench: SessionBench) -> None:
        issued = await bench.login(channel=Channel.BODY)
        await self.logout(bench, issued.refresh_token, Channel.COOKIE)
        assert bench.works(issued)
        await self.logout(bench, issued.refresh_token, None)
        assert not bench.works(issued)

    @pytest.mark.parametrize(("seconds", "spent"), [(0.0, True), (20.0, True), (20.5, False)])
    async def test_the_token_before_is_spent_while_its_answer_is_on_the_way(
        self, bench: SessionBench, seconds: float, spent: bool
    ) -> None:
        first = await bench.login()
        second = await bench.refresh(first.refresh_token)
        bench.clock.advance(seconds)
        await self.logout(bench, first.refresh_token)
        assert bench.works(second) is spent

    async def test_the_token_before_is_spent_once_its_successor_was_seen(self, bench: SessionBench) -> None:
        first = await bench.login()
        second = await bench.refresh(first.refresh_token)
        await bench.confirm(second)
        await self.logout(bench, first.refresh_token)
        assert bench.works(second)

    async def test_older_ones_are_spent_whatever_became_of_them(self, bench: SessionBench) -> None:
        first = await bench.login()
        second = await bench.refresh(first.refresh_token)
        third = await bench.refresh(second.refresh_token)
        bench.clock.advance(100)
        await self.logout(bench, first.refresh_token)
        assert bench.works(third)

    async def test_a_token_ahead_of_a_store_that_went_back_ends_its_session(self, bench: SessionBench) -> None:
        issued = await bench.login()
        await self.logout(bench, bench.token(issued, 5))
        assert not bench.works(issued)

    async def test_an_outage_is_told(self, bench: SessionBench) -> None:
        issued = await bench.login()
        bench.store.fail["end"] = StoreBusy()
        with pytest.raises(StoreBusy):
            await self.logout(bench, issued.refresh_token)
        assert bench.events.events == []
