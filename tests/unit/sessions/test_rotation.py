"""Transcripts of refreshes on a frozen clock: every outcome, both edges of every window."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.rotation_model import CAFE, PHONE, START, RotationModel

from gateway.sessions.decision import Outcome, Reason
from gateway.sessions.policy import BindingMode, RotationPolicy
from gateway.sessions.session import Channel, RevokeReason

W, S, R = 20.0, 180.0, 60.0


@pytest.fixture
def model() -> RotationModel:
    made = RotationModel()
    made.start()
    return made


def confirmed_at_two(model: RotationModel) -> None:
    """Generation 2 is current since START and its arrival is proven at START + R."""
    held = model.held(model.present(1))
    model.now = START + R
    assert model.use(held)
    assert model.session.confirmed_generation == 2


def test_the_current_generation_is_rotated(model: RotationModel) -> None:
    model.now = START + 900
    decision = model.present(1)
    assert decision.outcome is Outcome.ROTATED
    assert decision.successor == 2
    assert decision.retire == (1, START + 900)
    assert decision.grant is not None
    assert (decision.grant.generation, decision.grant.delivery) == (2, 1)
    assert decision.grant.expires_at == START + 900 + 900
    assert decision.grant.receipt_at == START + 900 + R
    assert decision.session is not None
    assert (decision.session.generation, decision.session.delivery) == (2, 1)
    assert decision.session.confirmed_generation == 1
    assert decision.session.presented_generation == 1
    assert decision.distance == 0
    assert decision.age is None


def test_presenting_the_successor_is_a_receipt_at_once(model: RotationModel) -> None:
    model.present(1)
    model.now += 1
    model.present(2)
    assert model.session.confirmed_generation == 2
    assert model.session.presented_generation == 2
    model.now += W + 1
    assert model.present(1).outcome is Outcome.SUPERSEDED


def test_a_retry_gets_the_same_successor(model: RotationModel) -> None:
    first = model.present(1)
    model.now += W + 0.001
    again = model.present(1)
    assert again.outcome is Outcome.RETRY
    assert again.successor == first.successor == 2
    assert again.session is not None
    assert again.session.delivery == 2
    assert again.session.rotated_at == model.now
    assert again.retire == (1, model.now)
    assert again.grant is not None
    assert (again.grant.generation, again.grant.delivery) == (2, 2)


@pytest.mark.parametrize("late", [S + 1, 3600.0, 20 * 3600.0])
def test_a_retry_may_come_as_late_as_the_session_lives(model: RotationModel, late: float) -> None:
    model.present(1)
    model.now += late
    assert model.present(1).outcome is Outcome.RETRY


def test_a_retry_works_when_the_store_forgot_the_retirement(model: RotationModel) -> None:
    model.present(1)
    model.retired.clear()
    model.now += 3600
    assert model.present(1).outcome is Outcome.RETRY


def test_race_up_to_the_edge_of_the_window(model: RotationModel) -> None:
    model.present(1)
    model.now += W
    assert model.present(1).outcome is Outcome.RACE
    model.now += 0.001
    assert model.present(1).outcome is Outcome.RETRY


def test_after_the_receipt_a_retry_is_closed(model: RotationModel) -> None:
    confirmed_at_two(model)
    model.now = START + S
    assert model.present(1).outcome is Outcome.SUPERSEDED
    model.now = START + S + 0.001
    assert model.present(1).outcome is Outcome.THEFT


def test_an_older_ancestor_is_superseded_inside_and_theft_outside_the_late_window(model: RotationModel) -> None:
    model.present(1)
    model.present(2)
    model.now = START + S
    inside = model.present(1)
    assert inside.outcome is Outcome.SUPERSEDED
    assert inside.distance == 2
    assert inside.age == S
    assert inside.grant is inside.successor is inside.revoke is None
    model.now = START + S + 0.001
    assert model.present(1).outcome is Outcome.THEFT


def test_an_ancestor_nobody_remembers_is_theft(model: RotationModel) -> None:
    model.present(1)
    model.present(2)
    model.retired.clear()
    decision = model.present(1)
    assert decision.outcome is Outcome.THEFT
    assert decision.age is None


def test_a_late_window_shorter_than_the_flight_is_as_long_as_the_flight() -> None:
    model = RotationModel(RotationPolicy(late_window=5.0))
    model.start()
    model.present(1)
    model.now += W
    assert model.present(1).outcome is Outcome.RACE


def test_the_loser_of_a_race_gets_access_that_confirms_nothing(model: RotationModel) -> None:
    model.present(1)
    model.now += 5
    race = model.present(1)
    assert race.outcome is Outcome.RACE
    assert race.successor is None
    assert race.session is None
    assert race.denials == ()
    assert race.grant is not None
    assert (race.grant.generation, race.grant.delivery) == (1, -1)
    assert race.grant.expires_at == START + 60
    model.now = START + 59.999
    assert model.use(model.held(race))
    assert model.session.confirmed_generation == 1
    model.now = START + 60
    assert model.present(1).outcome is Outcome.RETRY


def test_a_race_on_the_body_channel_gets_the_same_successor() -> None:
    model = RotationModel()
    model.start(channel=Channel.BODY)
    first = model.present(1)
    model.now += 1
    second = model.present(1)
    assert second.outcome is Outcome.RACE
    assert second.successor == first.successor == 2
    assert second.grant is not None
    assert second.grant.generation == 1


def test_a_race_token_lives_at_least_half_and_at_most_all_of_its_life() -> None:
    model = RotationModel(RotationPolicy(in_flight_window=60.0))
    model.start()
    model.present(1)
    model.now += 59
    race = model.present(1)
    assert race.grant is not None
    assert race.grant.expires_at == model.now + 30
    assert race.session is None


def test_a_race_token_that_outlives_the_others_is_remembered() -> None:
    model = RotationModel(RotationPolicy(access_ttl=15.0))
    model.start()
    model.present(1)
    model.now += W
    race = model.present(1)
    assert race.grant is not None
    assert race.grant.expires_at == model.now + 7.5
    assert model.session.max_access_exp == race.grant.expires_at


def test_after_a_retry_a_race_token_lives_until_its_holder_may_retry(model: RotationModel) -> None:
    model.present(1)
    model.now += W + 1
    retried_at = model.now
    assert model.present(1).outcome is Outcome.RETRY
    model.now += 5
    race = model.present(1)
    assert race.outcome is Outcome.RACE
    assert race.grant is not None
    assert race.grant.delivery == -2
    assert race.grant.expires_at == retried_at + W
    model.now = retried_at + W + 0.001
    assert model.present(1).outcome is Outcome.RETRY


def test_presenting_what_was_handed_out_twice_denies_its_access_tokens(model: RotationModel) -> None:
    model.present(1)
    model.now += W + 1
    retried = model.held(model.present(1))
    assert model.usable(retried)
    rotated = model.present(2)
    assert rotated.denials == ((2, 3),)
    assert not model.usable(retried)
    assert model.usable(model.held(rotated))


def test_presenting_what_was_handed_out_once_denies_nothing(model: RotationModel) -> None:
    other_tab = model.held(model.present(1))
    model.now += 1
    model.present(1)
    rotated = model.present(2)
    assert rotated.denials == ()
    assert model.usable(other_tab)


def test_a_body_race_counts_as_a_delivery_and_denies_once_presented() -> None:
    model = RotationModel()
    model.start(channel=Channel.BODY)
    winner = model.held(model.present(1))
    for number in (1, 2, 3):
        race = model.present(1)
        assert race.outcome is Outcome.RACE
        assert race.grant is not None
        assert race.grant.delivery == -number
    assert model.usable(winner)
    assert len(model.session.retries) == 1
    assert model.usable(model.held(race))
    rotated = model.held(model.present(2))
    assert not model.usable(winner)
    assert not model.usable(model.held(race))
    assert model.usable(rotated)


def burst(model: RotationModel, last: int) -> None:
    """Tabs that wake together present one generation after the other."""
    for generation in range(1, last):
        model.present(generation)
        model.now += 0.5


def test_a_jar_lost_in_a_crash_is_given_the_newest_on_its_second_return(model: RotationModel) -> None:
    first = model.held(model.present(1))
    second = model.held(model.present(2))
    model.now = START + 100
    assert model.present(1).outcome is Outcome.SUPERSEDED
    assert model.usable(first)
    healed = model.present(1)
    assert healed.outcome is Outcome.RETRY
    assert healed.successor == 3
    assert healed.denials == ((2, 65535), (3, 2))
    assert not model.usable(first)
    assert not model.usable(second)
    assert model.usable(model.held(healed))
    assert model.present(3).outcome is Outcome.ROTATED


def test_ten_rotations_may_be_lost_and_no_more() -> None:
    for last, outcome in ((11, Outcome.RETRY), (12, Outcome.SUPERSEDED)):
        model = RotationModel()
        model.start()
        burst(model, last)
        assert model.session.generation == last
        model.now = START + 100
        model.present(1)
        assert model.present(1).outcome is outcome


@pytest.mark.parametrize(
    ("between", "age", "outcome"),
    [
        (R, 100.0, Outcome.RETRY),
        (R + 0.001, 100.0, Outcome.SUPERSEDED),
        (0.0, W, Outcome.SUPERSEDED),
        (0.0, W + 0.001, Outcome.RETRY),
        (9.0, 9.0 + W, Outcome.SUPERSEDED),
        (9.0, 9.0 + W + 0.001, Outcome.RETRY),
        (1.0, S, Outcome.RETRY),
        (1.0, S + 0.001, Outcome.THEFT),
    ],
)
def test_only_what_came_before_a_jar_is_on_disk_can_be_lost(
    model: RotationModel, between: float, age: float, outcome: Outcome
) -> None:
    model.present(1)
    model.now = START + between
    model.present(2)
    model.now = START + age
    first = model.present(1).outcome
    assert first is (Outcome.THEFT if outcome is Outcome.THEFT else Outcome.SUPERSEDED)
    if outcome is not Outcome.THEFT:
        assert model.present(1).outcome is outcome


def test_nothing_is_lost_once_the_newest_is_confirmed(model: RotationModel) -> None:
    model.present(1)
    held = model.held(model.present(2))
    model.now = START + R
    model.use(held)
    model.now = START + 100
    model.present(1)
    assert model.session.retries == ()
    assert model.present(1).outcome is Outcome.SUPERSEDED


def test_another_device_neither_races_nor_retries() -> None:
    model = RotationModel(RotationPolicy(device_binding=BindingMode.OFF))
    model.start()
    model.present(1)
    model.now += 1
    assert model.present(1, facts=PHONE).outcome is Outcome.SUPERSEDED
    model.now = START + W + 1
    assert model.present(1, facts=PHONE).outcome is Outcome.SUPERSEDED
    model.now = START + S + 1
    assert model.present(1, facts=PHONE).outcome is Outcome.THEFT


def test_another_device_is_challenged_where_binding_is_enforced(model: RotationModel) -> None:
    model.present(1)
    for generation in (1, 2):
        decision = model.present(generation, facts=PHONE)
        assert decision.outcome is Outcome.CHALLENGED
        assert decision.reason is Reason.DEVICE_MISMATCH
        assert decision.session is decision.grant is decision.successor is decision.revoke is None
    assert model.present(2).outcome is Outcome.ROTATED


def test_theft_is_decided_before_the_challenge(model: RotationModel) -> None:
    confirmed_at_two(model)
    model.now = START + S + 1
    assert model.present(1, facts=PHONE).outcome is Outcome.THEFT


def test_the_same_device_is_judged_by_the_latest_rotation() -> None:
    model = RotationModel(RotationPolicy(device_binding=BindingMode.OFF))
    model.start()
    model.present(1, facts=PHONE)
    model.now += 1
    assert model.present(1).outcome is Outcome.SUPERSEDED
    assert model.present(1, facts=PHONE).outcome is Outcome.RACE


def test_a_receipt_before_r_confirms_nothing(model: RotationModel) -> None:
    held = model.held(model.present(1))
    model.now = START + R - 0.001
    assert model.use(held)
    assert model.session.confirmed_generation == 1
    assert model.present(1).outcome is Outcome.RETRY


def test_a_receipt_at_r_closes_the_retry(model: RotationModel) -> None:
    confirmed_at_two(model)
    assert model.present(1).outcome is Outcome.SUPERSEDED


def test_after_a_retry_the_receipt_counts_from_the_retry(model: RotationModel) -> None:
    model.present(1)
    model.now = START + 50
    held = model.held(model.present(1))
    model.now = START + 50 + R - 0.001
    model.use(held)
    assert model.session.confirmed_generation == 1
    model.now = START + 50 + R
    model.use(held)
    assert model.session.confirmed_generation == 2


def test_earlier_deliveries_and_race_tokens_are_denied_after_a_retry(model: RotationModel) -> None:
    before = model.held(model.present(1))
    model.now += 5
    raced = model.held(model.present(1))
    model.now = START + W + 1
    assert model.usable(before)
    assert model.usable(raced)
    now = model.held(model.present(1))
    assert not model.usable(before)
    assert not model.usable(raced)
    assert model.usable(now)


def test_a_later_race_is_not_denied_by_an_earlier_retry(model: RotationModel) -> None:
    model.present(1)
    model.now += W + 1
    model.present(1)
    model.now += 1
    model.present(2)
    model.now += 1
    raced = model.present(2)
    assert raced.outcome is Outcome.RACE
    assert model.usable(model.held(raced))


def test_an_access_token_of_an_older_generation_is_no_receipt(model: RotationModel) -> None:
    old = model.held(model.present(1))
    model.present(2)
    model.now += R
    assert model.use(old)
    assert model.session.confirmed_generation == 2
    assert model.present(2).outcome is Outcome.RETRY


def test_a_token_counts_from_its_arrival_at_the_gateway(model: RotationModel) -> None:
    model.present(1)
    model.now += W + 4
    queued = model.present(1, waited=4)
    assert queued.outcome is Outcome.RACE
    assert queued.age == W
    assert model.present(1, waited=3.9).outcome is Outcome.RETRY


def test_a_request_that_arrived_before_the_rotation_is_a_race(model: RotationModel) -> None:
    model.present(1)
    model.now += 3
    decision = model.present(1, waited=5)
    assert decision.outcome is Outcome.RACE
    assert decision.age == 0.0


def test_a_body_that_dribbles_in_cannot_make_an_old_token_young(model: RotationModel) -> None:
    confirmed_at_two(model)
    model.now = START + S + W + 0.001
    assert model.present(1, waited=3600).outcome is Outcome.THEFT


def test_a_negative_wait_does_not_age_a_request(model: RotationModel) -> None:
    model.present(1)
    model.now += W
    assert model.present(1, waited=-5).outcome is Outcome.RACE


@pytest.mark.parametrize("presented", [1, 2])
def test_a_clock_that_went_back_supersedes(model: RotationModel, presented: int) -> None:
    model.present(1)
    model.present(2)
    model.now -= 0.001
    decision = model.present(presented)
    assert decision.outcome is Outcome.SUPERSEDED
    assert model.present(3).outcome is Outcome.ROTATED


def test_two_rotations_in_one_second(model: RotationModel) -> None:
    for generation in (1, 2, 3):
        assert model.present(generation).outcome is Outcome.ROTATED
    assert model.session.generation == 4
    assert model.present(3).outcome is Outcome.RACE
    assert model.present(2).outcome is Outcome.SUPERSEDED


def test_ahead_of_the_store_goes_on_as_rotated_with_an_alarm(model: RotationModel) -> None:
    decision = model.present(7)
    assert decision.outcome is Outcome.AHEAD
    assert decision.successor == 8
    assert decision.suspicious == ("store_behind",)
    assert decision.retire == (7, START)
    assert decision.distance == -6
    assert model.session.generation == 8
    assert model.session.presented_generation == 7
    assert model.present(8).outcome is Outcome.ROTATED


def test_what_was_spent_while_the_store_forgot_is_late_before_it_is_theft(model: RotationModel) -> None:
    assert model.present(4).lost == (1, 2, 3)
    model.now += S
    for generation in (1, 2, 3):
        assert model.present(generation).outcome is Outcome.SUPERSEDED
    model.now += 0.001
    assert model.present(3).outcome is Outcome.THEFT


def test_only_the_latest_lost_generations_are_remembered(model: RotationModel) -> None:
    assert model.present(1000).lost == tuple(range(936, 1000))
    assert model.present(935).outcome is Outcome.THEFT


def test_ahead_from_another_device_is_challenged_and_changes_nothing(model: RotationModel) -> None:
    before = model.session
    assert model.present(7, facts=PHONE).outcome is Outcome.CHALLENGED
    assert model.session == before


def test_dead_when_unknown(model: RotationModel) -> None:
    decision = model.present(1, sid="nobody")
    assert (decision.outcome, decision.reason) == (Outcome.DEAD, Reason.UNKNOWN)


def test_dead_when_revoked_even_for_an_ancestor(model: RotationModel) -> None:
    confirmed_at_two(model)
    model.end("session-1", RevokeReason.LOGOUT)
    model.now += S + 1
    for generation in (1, 2, 3):
        decision = model.present(generation)
        assert (decision.outcome, decision.reason, decision.revoke) == (Outcome.DEAD, Reason.REVOKED, None)


def test_dead_at_the_idle_limit(model: RotationModel) -> None:
    model.now = START + model.policy.idle_ttl
    decision = model.present(1)
    assert (decision.outcome, decision.reason) == (Outcome.DEAD, Reason.EXPIRED)
    model.now -= 0.001
    assert model.present(1).outcome is Outcome.ROTATED


def test_dead_at_the_absolute_limit_and_nothing_outlives_it() -> None:
    model = RotationModel(RotationPolicy(absolute_ttl=1000.0))
    model.start()
    model.now = START + 999
    decision = model.present(1)
    assert decision.grant is not None
    assert decision.grant.expires_at == START + 1000
    assert model.session.idle_expires_at == START + 1000
    assert model.present(1).grant == replace(decision.grant, generation=1, delivery=-1, receipt_at=START + 1000)
    model.now = START + 1000
    assert model.present(2).reason is Reason.EXPIRED


def test_dead_when_the_user_is_gone_or_inactive(model: RotationModel) -> None:
    model.user = replace(model.user, active=False)
    assert model.present(1).reason is Reason.USER_DISABLED


def test_dead_on_the_wrong_channel(model: RotationModel) -> None:
    decision = model.present(1, channel=Channel.BODY)
    assert (decision.outcome, decision.reason) == (Outcome.DEAD, Reason.CHANNEL_MISMATCH)
    assert model.session.revoked_at is None


def test_ip_binding_challenges_another_network_when_enforced() -> None:
    model = RotationModel(RotationPolicy(ip_binding=BindingMode.ENFORCE))
    model.start()
    decision = model.present(1, facts=CAFE)
    assert (decision.outcome, decision.reason) == (Outcome.CHALLENGED, Reason.IP_MISMATCH)


def test_alerts_are_told_once_per_change(model: RotationModel) -> None:
    model.policy = RotationPolicy(device_binding=BindingMode.ALERT)
    assert model.present(1, facts=CAFE).suspicious == ("network_changed",)
    assert model.present(2, facts=CAFE).suspicious == ()
    assert model.present(3).suspicious == ()
    assert model.present(4, facts=PHONE).suspicious == ("device_changed",)
    assert model.present(5, facts=PHONE).suspicious == ()


def test_binding_off_says_nothing(model: RotationModel) -> None:
    model.policy = RotationPolicy(device_binding=BindingMode.OFF, ip_binding=BindingMode.OFF)
    decision = model.present(1, facts=replace(PHONE, network=CAFE.network))
    assert decision.outcome is Outcome.ROTATED
    assert decision.suspicious == ()


def test_an_old_log_in_has_to_prove_itself() -> None:
    model = RotationModel(RotationPolicy(reauth_after=3600.0))
    model.start()
    model.now = START + 3599.999
    assert model.present(1).outcome is Outcome.ROTATED
    model.now = START + 3600
    decision = model.present(2)
    assert (decision.outcome, decision.reason) == (Outcome.CHALLENGED, Reason.REAUTH_REQUIRED)


def test_a_session_that_owes_proof_is_challenged_until_it_is_given(model: RotationModel) -> None:
    model.present(1)
    model.sessions["session-1"] = replace(model.session, proof_required=True)
    for generation in (1, 2, 5):
        decision = model.present(generation)
        assert (decision.outcome, decision.reason) == (Outcome.CHALLENGED, Reason.PROOF_REQUIRED)
    model.sessions["session-1"] = replace(model.session, proof_required=False)
    assert model.present(2).outcome is Outcome.ROTATED


def test_rotation_renews_the_idle_limit(model: RotationModel) -> None:
    model.now += 1000
    model.present(1)
    assert model.session.idle_expires_at == model.now + model.policy.idle_ttl
    assert model.session.last_seen_at == model.now


def test_nothing_but_polling_does_not_renew_the_idle_limit(model: RotationModel) -> None:
    held = model.held(model.present(1))
    limit, seen = model.session.idle_expires_at, model.session.last_seen_at
    model.now += R
    assert model.use(held, passive=True)
    assert model.session.confirmed_generation == 2
    model.present(2)
    assert model.session.idle_expires_at == limit
    assert model.session.last_seen_at == seen


def test_polling_beside_use_renews_the_idle_limit(model: RotationModel) -> None:
    held = model.held(model.present(1))
    model.now += 10
    model.use(held)
    model.now += 10
    model.use(held, passive=True)
    model.present(2)
    assert model.session.idle_expires_at == model.now + model.policy.idle_ttl


def test_the_latest_access_expiry_never_shrinks(model: RotationModel) -> None:
    model.present(1)
    latest = model.session.max_access_exp
    model.policy = RotationPolicy(access_ttl=60.0)
    model.now += 1
    decision = model.present(2)
    assert decision.grant is not None
    assert decision.grant.expires_at == model.now + 60
    assert model.session.max_access_exp == latest
