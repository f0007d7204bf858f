"""How far a theft reaches, and what repeated retries lead to."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.rotation_model import CAFE, HOME, PHONE, START, RotationModel

from gateway.sessions import retries
from gateway.sessions.decision import Decision, Outcome, Reason, RevokeScope
from gateway.sessions.policy import BindingMode, OnReuse, RotationPolicy
from gateway.sessions.session import Channel, RetryMark, RevokeReason

W, S, R = 20.0, 180.0, 60.0


def started(policy: RotationPolicy | None = None, channel: Channel = Channel.COOKIE) -> RotationModel:
    model = RotationModel(policy or RotationPolicy())
    model.start(channel=channel)
    model.start("session-2")
    return model


def theft_at_distance_one(model: RotationModel) -> Decision:
    held = model.held(model.present(1))
    model.now = START + R
    model.use(held)
    model.now = START + S + 1
    return model.present(1)


def theft_at_distance_two(model: RotationModel, **presented: object) -> Decision:
    model.present(1)
    model.present(2)
    model.now = START + S + 1
    return model.present(1, **presented)  # type: ignore[arg-type]


def test_theft_ends_everything_of_the_user() -> None:
    model = started()
    other = model.sessions["session-2"]
    decision = theft_at_distance_two(model)
    assert decision.outcome is Outcome.THEFT
    assert decision.revoke is RevokeScope.USER
    assert decision.distance == 2
    assert decision.age == S + 1
    assert decision.session is decision.grant is decision.successor is None
    assert model.sessions[other.sid].revoke_reason is RevokeReason.REUSE
    assert model.present(3).reason is Reason.REVOKED


def test_nothing_is_usable_after_a_theft() -> None:
    model = started()
    held = model.held(model.present(1))
    model.present(2)
    model.now = START + S + 1
    assert model.usable(held)
    model.present(1)
    assert not model.usable(held)


def test_a_successor_never_presented_on_the_same_device_ends_that_session_only() -> None:
    model = started()
    decision = theft_at_distance_one(model)
    assert decision.revoke is RevokeScope.SESSION
    assert model.session.revoke_reason is RevokeReason.REUSE
    assert model.sessions["session-2"].revoked_at is None


def test_a_successor_never_presented_on_another_device_ends_everything() -> None:
    model = started(RotationPolicy(device_binding=BindingMode.OFF))
    model.present(1)
    model.now = START + S + 1
    assert model.present(1, facts=PHONE).revoke is RevokeScope.USER


@pytest.mark.parametrize("theft", [theft_at_distance_one, theft_at_distance_two])
def test_revoke_session_ends_one_session(theft) -> None:  # type: ignore[no-untyped-def]
    model = started(RotationPolicy(on_reuse=OnReuse.REVOKE_SESSION))
    assert theft(model).revoke is RevokeScope.SESSION


@pytest.mark.parametrize("facts", [CAFE, PHONE])
def test_revoke_session_widens_when_device_or_network_differ(facts) -> None:  # type: ignore[no-untyped-def]
    model = started(RotationPolicy(on_reuse=OnReuse.REVOKE_SESSION))
    assert theft_at_distance_two(model, facts=facts).revoke is RevokeScope.USER


@pytest.mark.parametrize(("hours", "scope"), [(23.9, RevokeScope.USER), (24.1, RevokeScope.SESSION)])
def test_revoke_session_widens_on_the_second_theft_in_a_day(hours: float, scope: RevokeScope) -> None:
    model = started(RotationPolicy(on_reuse=OnReuse.REVOKE_SESSION))
    model.end("session-2", RevokeReason.REUSE)
    model.sessions["session-2"] = replace(model.sessions["session-2"], revoked_at=START + S + 1 - hours * 3600)
    assert theft_at_distance_two(model).revoke is scope


def cycle(model: RotationModel, *, lag: float = 600.0, first=HOME, second=HOME) -> tuple[Decision, Decision]:  # type: ignore[no-untyped-def]
    """Somebody rotates, somebody else comes back for the same successor `lag` later; then a while passes."""
    generation = model.session.generation
    model.present(generation, facts=first)
    model.now += lag
    retry = model.present(generation, facts=second)
    model.now += 5
    return retry, retry


def retried(model: RotationModel, times: int, **facts: object) -> list[Decision]:
    return [cycle(model, **facts)[0] for _ in range(times)]  # type: ignore[arg-type]


def test_three_retries_within_ten_generations_are_suspicious() -> None:
    model = started()
    found = retried(model, 4)
    assert [d.outcome for d in found] == [Outcome.RETRY] * 4
    assert [d.suspicious for d in found] == [(), (), ("repeated_retries",), ("repeated_retries",)]
    assert not model.session.proof_required


def test_three_retries_of_one_generation_are_suspicious() -> None:
    model = started()
    model.present(1)
    found = []
    for _ in range(4):
        model.now += W + 1
        found.append(model.present(1).suspicious)
    assert found == [(), (), ("repeated_retries",), ("repeated_retries",)]
    assert len(model.session.retries) == retries.LIMIT


@pytest.mark.parametrize(("between", "suspected"), [(8, True), (9, False)])
def test_retries_count_for_ten_generations(between: int, suspected: bool) -> None:
    model = started()
    retried(model, 1)
    for _ in range(between - 1):
        model.present(model.session.generation)
    found = retried(model, 2)
    assert ("repeated_retries" in found[-1].suspicious) is suspected


def test_under_suspicion_receipts_count_at_once() -> None:
    model = started()
    assert retried(model, 3)[-1].grant.receipt_at == model.now - 5  # type: ignore[union-attr]
    rotated = model.present(model.session.generation)
    assert rotated.grant is not None
    assert rotated.grant.receipt_at == model.now
    model.use(model.held(rotated))
    model.now += S + 1
    stolen = model.present(model.session.generation - 1)
    assert stolen.outcome is Outcome.THEFT
    assert stolen.revoke is RevokeScope.SESSION


def test_after_retries_two_in_a_row_receipts_count_at_once() -> None:
    model = started()
    model.present(1)
    model.now += 600
    assert model.present(1).grant.receipt_at == model.now + R  # type: ignore[union-attr]
    assert model.present(2).grant.receipt_at == model.now + R  # type: ignore[union-attr]
    model.now += 600
    assert model.present(2).grant.receipt_at == model.now  # type: ignore[union-attr]
    assert model.present(3).grant.receipt_at == model.now  # type: ignore[union-attr]
    assert model.present(4).grant.receipt_at == model.now + R  # type: ignore[union-attr]


def test_under_suspicion_there_are_no_race_tokens() -> None:
    model = started()
    retried(model, 3)
    generation = model.session.generation
    model.present(generation)
    model.now += 1
    assert model.present(generation).outcome is Outcome.SUPERSEDED
    model.now += W
    assert model.present(generation).outcome is Outcome.RETRY


def test_three_generations_raced_for_are_suspicious_where_the_loser_gets_the_successor() -> None:
    model = started(channel=Channel.BODY)
    found = []
    for generation in (1, 2, 3):
        model.present(generation)
        model.present(generation)
        found.append(model.present(generation).suspicious)
    assert found[:2] == [(), ()]
    assert model.session.retries == tuple(RetryMark(generation, False) for generation in (2, 3, 4))
    model.present(4)
    assert model.present(4).outcome is Outcome.SUPERSEDED


def test_under_suspicion_no_crash_is_believed() -> None:
    model = started()
    retried(model, 3)
    generation = model.session.generation
    model.present(generation)
    model.present(generation + 1)
    model.now += 100
    model.present(generation)
    assert model.present(generation).outcome is Outcome.SUPERSEDED


def test_suspicion_passes_with_quiet_generations() -> None:
    model = started()
    retried(model, 3)
    for _ in range(10):
        decision = model.present(model.session.generation)
    assert decision.grant is not None
    assert decision.grant.receipt_at == model.now + R
    assert model.session.retries == ()
    model.now += 1
    assert model.present(model.session.generation - 1).outcome is Outcome.RACE


def test_proof_is_asked_when_three_generations_were_retried_late_and_from_elsewhere() -> None:
    model = started()
    found = retried(model, 3, first=CAFE, second=HOME)
    assert [d.outcome for d in found] == [Outcome.RETRY] * 3
    assert found[-1].suspicious == ("repeated_retries", "retries_from_elsewhere")
    assert model.session.proof_required
    for facts in (CAFE, HOME):
        assert model.present(model.session.generation, facts=facts).reason is Reason.PROOF_REQUIRED


def test_no_proof_is_asked_of_one_who_comes_back_promptly_from_another_network() -> None:
    model = started()
    found = retried(model, 4, lag=W + 60, first=CAFE, second=HOME)
    assert "repeated_retries" in found[-1].suspicious
    assert not model.session.proof_required
    retried(model, 3, lag=W + 60.001, first=CAFE, second=HOME)
    assert model.session.proof_required


def test_no_proof_is_asked_of_a_phone_whose_retries_are_not_in_a_row() -> None:
    model = started()
    for _ in range(4):
        retried(model, 2, first=CAFE, second=HOME)
        model.present(model.session.generation)
    assert not model.session.proof_required
    retried(model, 3, first=CAFE, second=HOME)
    assert model.session.proof_required


def test_no_proof_is_asked_for_retries_of_one_generation() -> None:
    model = started()
    model.present(1)
    for facts in (CAFE, HOME, CAFE, HOME, CAFE):
        model.now += 600
        assert model.present(1, facts=facts).outcome is Outcome.RETRY
    assert not model.session.proof_required
    assert len(model.session.retries) == retries.LIMIT


def test_marks_from_elsewhere_cannot_be_crowded_out() -> None:
    model = started()
    for _ in range(3):
        cycle(model, first=CAFE, second=HOME)
        generation = model.session.generation - 1
        for _ in range(8):
            model.now += W + 1
            model.present(generation)
    assert model.session.proof_required


def test_marks_of_the_future_do_not_count() -> None:
    marks = tuple(RetryMark(generation, True) for generation in (20, 21, 22))
    assert retries.recent(marks, 5) == ()
    assert not retries.suspicious(marks, 5)
    assert retries.proof_due(marks, 22)
