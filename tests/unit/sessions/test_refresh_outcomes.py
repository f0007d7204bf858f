"""Each outcome of a refresh: what comes back, what is raised, which events tell of it, and in which order."""

from __future__ import annotations

import uuid

import pytest
from support.sessions import LAPTOP, PHONE, SessionBench
from support.tokens import master_keys

from gateway.errors import (
    GatewayError,
    InsufficientUserAuthentication,
    InvalidGrant,
    RefreshSuperseded,
    RefreshTokenReused,
    StoreBusy,
    StoreUnavailable,
    SuspiciousActivity,
    TemporarilyUnavailable,
)
from gateway.events import Event, Level, Name
from gateway.sessions import session_events
from gateway.sessions.decision import Decision, Outcome, RevokeScope
from gateway.sessions.denial import Denial
from gateway.sessions.policy import BindingMode, OnReuse, RotationPolicy
from gateway.sessions.ports import Rotation
from gateway.sessions.session import Channel, RevokeReason
from gateway.tokens.refresh_token import RefreshTokens


@pytest.fixture
def bench() -> SessionBench:
    return SessionBench()


def only(bench: SessionBench) -> Event:
    (event,) = bench.events.events
    return event


async def refused(bench: SessionBench, error: type[GatewayError], token: str | None, **named: object) -> GatewayError:
    with pytest.raises(error) as caught:
        await bench.refresh(token, **named)  # type: ignore[arg-type]
    assert type(caught.value) is error
    return caught.value


async def test_rotated(bench: SessionBench) -> None:
    first = await bench.login()
    bench.clock.advance(300)
    second = await bench.refresh(first.refresh_token)
    assert second.outcome is Outcome.ROTATED
    assert bench.tokens.parse(second.refresh_token or "").generation == 2
    assert (second.expires_in, second.refresh_expires_in) == (900, 24 * 3600)
    assert second.rotated_at == bench.clock.now()
    assert second.session == await bench.stored(second)
    claims = bench.claims(second)
    assert (claims.generation, claims.delivery) == (2, 1)
    assert claims.receipt_at == bench.clock.now() + 60
    event = only(bench)
    assert (event.name, event.level) == (Name.SESSION_REFRESHED, Level.INFO)
    assert (event.session_id, event.user_id) == (first.session.sid, first.user.user_id)
    assert (event.request_id, event.address, event.user_agent) == ("req-1", LAPTOP.address, LAPTOP.user_agent)
    assert event.fields == {
        "outcome": "rotated",
        "generation": 2,
        "interval_s": 300.0,
        "device": "Firefox on Linux",
    }


async def test_what_the_user_has_become_is_in_the_next_token(bench: SessionBench) -> None:
    first = await bench.login()
    bench.service.announce(await bench.stores.users.set_roles(first.user.user_id, ("admin",)), None)
    assert not bench.works(first)
    second = await bench.refresh(first.refresh_token)
    assert bench.works(second)
    assert second.user.roles == bench.claims(second).roles == ("admin",)


async def test_the_refresh_token_never_outlives_the_session(bench: SessionBench) -> None:
    bench = SessionBench(RotationPolicy(idle_ttl=3600.0, absolute_ttl=4000.0))
    first = await bench.login()
    assert first.refresh_expires_in == 3600
    bench.clock.advance(3000)
    assert (await bench.refresh(first.refresh_token)).refresh_expires_in == 1000


async def test_race_on_the_cookie_hands_out_no_refresh_token(bench: SessionBench) -> None:
    first = await bench.login()
    second = await bench.refresh(first.refresh_token)
    bench.clock.advance(5)
    bench.events.take()
    loser = await bench.refresh(first.refresh_token)
    assert (loser.outcome, loser.refresh_token) == (Outcome.RACE, None)
    assert loser.expires_in <= 60
    assert (bench.claims(loser).generation, bench.claims(loser).delivery) == (1, -1)
    assert loser.rotated_at == second.rotated_at
    assert only(bench).fields == {
        "outcome": "race",
        "generation": 2,
        "interval_s": 5.0,
        "device": "Firefox on Linux",
    }


async def test_race_in_the_body_hands_out_the_same_successor(bench: SessionBench) -> None:
    first = await bench.login(channel=Channel.BODY)
    second = await bench.refresh(first.refresh_token, channel=Channel.BODY)
    loser = await bench.refresh(first.refresh_token, channel=Channel.BODY)
    assert loser.outcome is Outcome.RACE
    assert loser.refresh_token == second.refresh_token


async def test_the_losers_token_confirms_nothing(bench: SessionBench) -> None:
    first = await bench.login()
    await bench.refresh(first.refresh_token)
    loser = await bench.refresh(first.refresh_token)
    bench.clock.advance(30)
    bench.receipts.note(bench.claims(loser), False)
    await bench.receipts.flush(first.session.sid)
    stored = await bench.stored(first)
    assert stored.confirmed_generation == 1
    assert stored.last_seen_at == bench.clock.now()


async def test_retry_hands_out_the_same_successor_and_denies_the_lost_answer(bench: SessionBench) -> None:
    first = await bench.login()
    lost = await bench.refresh(first.refresh_token)
    loser = await bench.refresh(first.refresh_token)
    bench.clock.advance(25)
    bench.events.take()
    retried = await bench.refresh(first.refresh_token)
    assert retried.outcome is Outcome.RETRY
    assert retried.refresh_token == lost.refresh_token
    assert retried.rotated_at == bench.clock.now()
    assert bench.index.denial(bench.claims(lost)) is Denial.DELIVERY
    assert bench.index.denial(bench.claims(loser)) is Denial.DELIVERY
    assert bench.works(retried)
    event = only(bench)
    assert (event.fields["outcome"], event.fields["generation"]) == ("retry", 2)


async def test_three_retries_are_suspicious(bench: SessionBench) -> None:
    issued = await bench.login()
    for _ in range(3):
        token = issued.refresh_token
        await bench.refresh(token)
        bench.clock.advance(25)
        bench.events.take()
        issued = await bench.refresh(token)
    assert bench.events.names() == [Name.SESSION_REFRESHED, Name.SESSION_SUSPICIOUS]
    refreshed, odd = bench.events.events
    assert refreshed.fields["risk.reasons"] == ["repeated_retries"]
    assert (odd.level, odd.session_id, odd.user_id) == (Level.WARNING, issued.session.sid, issued.user.user_id)
    assert odd.fields == {"risk.reasons": ["repeated_retries"], "action": "allowed"}


async def test_ahead_goes_on_with_an_alarm(bench: SessionBench) -> None:
    first = await bench.login()
    issued = await bench.refresh(bench.token(first, 7))
    assert issued.outcome is Outcome.AHEAD
    assert bench.tokens.parse(issued.refresh_token or "").generation == 8
    assert bench.events.names() == [Name.SESSION_REFRESHED, Name.SESSION_SUSPICIOUS]
    assert bench.events.events[0].fields["outcome"] == "ahead"
    assert bench.events.events[1].fields == {"risk.reasons": ["store_behind"], "action": "allowed"}


async def test_superseded(bench: SessionBench) -> None:
    first = await bench.login()
    second = await bench.refresh(first.refresh_token)
    await bench.refresh(second.refresh_token)
    bench.events.take()
    await refused(bench, RefreshSuperseded, first.refresh_token)
    event = only(bench)
    assert (event.name, event.level) == (Name.SESSION_REFRESH_REJECTED, Level.WARNING)
    assert (event.session_id, event.user_id) == (first.session.sid, first.user.user_id)
    assert event.fields == {"outcome": "superseded"}


async def test_theft_ends_everything_and_says_so_first(bench: SessionBench) -> None:
    user = await bench.add_user()
    first, elsewhere = await bench.login(user), await bench.login(user)
    second = await bench.refresh(first.refresh_token)
    third = await bench.refresh(second.refresh_token)
    bench.clock.advance(400)
    bench.events.take()
    await refused(bench, RefreshTokenReused, first.refresh_token, facts=PHONE)
    theft, *ends = bench.events.events
    assert (theft.name, theft.level) == (Name.SESSION_REFRESH_REUSED, Level.ERROR)
    assert (theft.session_id, theft.user_id, theft.address) == (first.session.sid, user.user_id, PHONE.address)
    assert theft.fields == {
        "outcome": "theft",
        "generation": 1,
        "distance": 2,
        "age_s": 400.0,
        "revoked": 2,
        "previous.client.address": LAPTOP.address,
        "previous.user_agent.original": LAPTOP.user_agent,
    }
    assert {event.name for event in ends} == {Name.SESSION_REVOKED}
    assert {event.session_id for event in ends} == {first.session.sid, elsewhere.session.sid}
    assert {event.fields["reason"] for event in ends} == {"reuse"}
    assert not any(bench.works(issued) for issued in (first, second, third, elsewhere))
    await refused(bench, InvalidGrant, third.refresh_token)
    await refused(bench, InvalidGrant, elsewhere.refresh_token)


async def test_a_theft_older_than_memory_has_no_age(bench: SessionBench) -> None:
    issued = first = await bench.login()
    for _ in range(3):
        bench.clock.advance(3600)
        issued = await bench.refresh(issued.refresh_token)
    bench.events.take()
    await refused(bench, RefreshTokenReused, first.refresh_token)
    assert bench.events.events[0].fields["age_s"] is None
    assert bench.events.events[0].fields["distance"] == 3


async def test_a_theft_that_ends_one_session_leaves_the_others() -> None:
    bench = SessionBench(RotationPolicy(on_reuse=OnReuse.REVOKE_SESSION))
    user = await bench.add_user()
    first, elsewhere = await bench.login(user), await bench.login(user)
    second = await bench.refresh(first.refresh_token)
    await bench.refresh(second.refresh_token)
    bench.clock.advance(400)
    bench.events.take()
    await refused(bench, RefreshTokenReused, first.refresh_token)
    assert bench.events.events[0].fields["revoked"] == 1
    assert bench.events.names() == [Name.SESSION_REFRESH_REUSED, Name.SESSION_REVOKED]
    assert (bench.works(second), bench.works(elsewhere)) == (False, True)


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (RotationPolicy(), "device_mismatch"),
        (RotationPolicy(device_binding=BindingMode.OFF, ip_binding=BindingMode.ENFORCE), "ip_mismatch"),
    ],
)
async def test_challenged(policy: RotationPolicy, reason: str) -> None:
    bench = SessionBench(policy)
    first = await bench.login()
    await refused(bench, SuspiciousActivity, first.refresh_token, facts=PHONE)
    event = only(bench)
    assert (event.name, event.address) == (Name.SESSION_REFRESH_REJECTED, PHONE.address)
    assert event.fields == {"outcome": "challenged", "reason": reason}
    assert (await bench.refresh(first.refresh_token)).outcome is Outcome.ROTATED


async def test_an_old_login_must_prove_itself_again() -> None:
    bench = SessionBench(RotationPolicy(reauth_after=3600.0))
    first = await bench.login()
    bench.clock.advance(3600)
    await refused(bench, InsufficientUserAuthentication, first.refresh_token)
    assert only(bench).fields["reason"] == "reauth_required"


async def test_a_binding_that_only_alerts_is_told_and_allowed() -> None:
    bench = SessionBench(RotationPolicy(device_binding=BindingMode.ALERT))
    first = await bench.login()
    assert (await bench.refresh(first.refresh_token, PHONE)).outcome is Outcome.ROTATED
    assert bench.events.events[1].fields["risk.reasons"] == ["device_changed", "network_changed"]
    assert bench.events.events[1].fields["action"] == "allowed"


async def test_dead(bench: SessionBench) -> None:
    first = await bench.login()
    await bench.service.end(first.session.sid, RevokeReason.ADMIN, None)
    bench.events.take()
    await refused(bench, InvalidGrant, first.refresh_token)
    assert only(bench).fields == {"outcome": "dead", "reason": "revoked"}


@pytest.mark.parametrize("what", ["expired", "user_disabled", "channel_mismatch"])
async def test_dead_for_other_reasons(bench: SessionBench, what: str) -> None:
    first = await bench.login()
    channel = Channel.COOKIE
    if what == "expired":
        bench.clock.advance(24 * 3600)
    elif what == "user_disabled":
        database = bench.stores.sessions._db  # type: ignore[attr-defined]
        del database.users[first.user.user_id]
    else:
        channel = Channel.BODY
    await refused(bench, InvalidGrant, first.refresh_token, channel=channel)
    assert only(bench).fields == {"outcome": "dead", "reason": what}


async def test_a_session_that_is_unknown_is_dead_too(bench: SessionBench) -> None:
    sid = str(uuid.uuid4())
    await refused(bench, InvalidGrant, bench.tokens.issue(2, sid, 3))
    event = only(bench)
    assert (event.session_id, event.user_id) == (sid, None)
    assert event.fields == {"outcome": "dead", "reason": "unknown"}


async def test_forged_tokens_are_told_and_cost_no_read(bench: SessionBench) -> None:
    issued = await bench.login()
    bench.store.calls.clear()
    forger = RefreshTokens(master_keys(1, 2), b"another store")
    for token in ("", "gwr_", forger.issue(2, issued.session.sid, 1)):
        with pytest.raises(InvalidGrant):
            await bench.refresh(token)
    assert bench.store.calls == []
    assert {(event.name, event.session_id) for event in bench.events.events} == {(Name.SESSION_REFRESH_REJECTED, None)}
    assert [event.fields for event in bench.events.events] == [{"outcome": "forged"}] * 3
    assert bench.works(issued)


async def test_a_token_under_a_withdrawn_master_key_is_dead(bench: SessionBench) -> None:
    issued = await bench.login()
    old = RefreshTokens(master_keys(1, 2, 3), b"incarnation").issue(1, issued.session.sid, 1)
    bench.service._refresher._tokens = RefreshTokens(master_keys(2), b"incarnation")
    with pytest.raises(InvalidGrant):
        await bench.refresh(old)
    assert only(bench).fields == {"outcome": "dead", "reason": "revoked"}
    assert only(bench).session_id == issued.session.sid


@pytest.mark.parametrize("method", ["rotate", "confirm"])
@pytest.mark.parametrize("error", [StoreBusy(), StoreUnavailable(debug="gone", retry_after=7)])
async def test_an_outage_logs_nobody_out(bench: SessionBench, method: str, error: GatewayError) -> None:
    issued = await bench.login()
    bench.receipts.note(bench.claims(issued), False)
    bench.store.fail[method] = error
    raised = await refused(bench, TemporarilyUnavailable, issued.refresh_token)
    assert raised.retry_after == (error.retry_after or 1)
    event = only(bench)
    assert (event.name, event.session_id) == (Name.SESSION_REFRESH_REJECTED, issued.session.sid)
    assert event.fields == {"outcome": "busy"}
    bench.store.fail.clear()
    assert (await bench.refresh(issued.refresh_token)).outcome is Outcome.ROTATED


async def test_receipts_of_the_session_go_first(bench: SessionBench) -> None:
    first = await bench.login()
    second = await bench.refresh(first.refresh_token)
    bench.clock.advance(61)
    bench.receipts.note(bench.claims(second), False)
    bench.events.take()
    await refused(bench, RefreshSuperseded, first.refresh_token)
    assert (await bench.stored(first)).confirmed_generation == 2


async def test_a_receipt_before_its_time_leaves_a_retry_open(bench: SessionBench) -> None:
    first = await bench.login()
    second = await bench.refresh(first.refresh_token)
    bench.clock.advance(59)
    bench.receipts.note(bench.claims(second), False)
    assert (await bench.refresh(first.refresh_token)).outcome is Outcome.RETRY


async def test_what_the_request_waited_counts_for_it(bench: SessionBench) -> None:
    first = await bench.login()
    await bench.refresh(first.refresh_token)
    bench.clock.advance(25)
    assert (await bench.refresh(first.refresh_token, waited=10.0)).outcome is Outcome.RACE
    assert (await bench.refresh(first.refresh_token, waited=-10.0)).outcome is Outcome.RETRY


async def test_only_polling_does_not_renew_the_idle_limit(bench: SessionBench) -> None:
    issued = await bench.login()
    for _ in range(10):
        bench.clock.advance(800)
        bench.receipts.note(bench.claims(issued), True)
        issued = await bench.refresh(issued.refresh_token)
    assert issued.session.idle_expires_at == issued.session.created_at + 24 * 3600
    bench.clock.advance(800)
    bench.receipts.note(bench.claims(issued), False)
    issued = await bench.refresh(issued.refresh_token)
    assert issued.session.idle_expires_at == bench.clock.now() + 24 * 3600


@pytest.mark.parametrize(
    ("outcome", "revoke", "action"),
    [
        (Outcome.THEFT, RevokeScope.USER, "user_revoked"),
        (Outcome.THEFT, RevokeScope.SESSION, "session_revoked"),
        (Outcome.CHALLENGED, None, "challenged"),
        (Outcome.SUPERSEDED, None, "refused"),
    ],
)
async def test_what_is_odd_tells_what_was_done(
    bench: SessionBench, outcome: Outcome, revoke: RevokeScope | None, action: str
) -> None:
    issued = await bench.login()
    decision = Decision(outcome, revoke=revoke, suspicious=("odd",))
    rotation = Rotation(decision, issued.session, issued.user, bench.clock.now())
    _, odd = session_events.of_rotation(rotation, issued.session.sid, 1, bench.context())
    assert (odd.name, odd.user_id, odd.session_id) == (
        Name.SESSION_SUSPICIOUS,
        issued.user.user_id,
        issued.session.sid,
    )
    assert odd.fields == {"risk.reasons": ["odd"], "action": action}


async def test_an_answer_too_late_for_its_cookie_is_no_receipt(bench: SessionBench) -> None:
    first = await bench.login()
    second = await bench.refresh(first.refresh_token)
    bench.clock.advance(11)
    late = bench.service.too_late(second)
    claims = bench.claims(late)
    assert (late.refresh_token, late.expires_in) == (None, 60)
    assert (claims.generation, claims.delivery) == (1, -1)
    bench.clock.advance(20)
    retried = await bench.refresh(first.refresh_token)
    assert retried.outcome is Outcome.RETRY
    assert bench.index.denial(claims) is Denial.DELIVERY
