"""The rule under every mixture of clients, thieves, lost answers, receipts and clock steps."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from support.rotation_model import CAFE, HOME, PHONE, Held, RotationModel

from gateway.sessions import retries
from gateway.sessions.decision import Decision, Outcome, RevokeScope
from gateway.sessions.policy import BindingMode, OnReuse, RotationPolicy
from gateway.sessions.session import Channel, RevokeReason

ISSUING = {Outcome.ROTATED, Outcome.AHEAD, Outcome.RACE, Outcome.RETRY}
REFUSING = {Outcome.DEAD, Outcome.CHALLENGED, Outcome.SUPERSEDED}


class Rotation(RuleBasedStateMachine):
    """Anyone presents anything that was ever issued, at any time."""

    @initialize(
        channel=st.sampled_from(Channel),
        binding=st.sampled_from(BindingMode),
        on_reuse=st.sampled_from(OnReuse),
    )
    def log_in(self, channel: Channel, binding: BindingMode, on_reuse: OnReuse) -> None:
        self.model = RotationModel(RotationPolicy(device_binding=binding, on_reuse=on_reuse))
        self.channel = channel
        self.held: list[Held] = [self.model.start(channel=channel), self.model.start("session-2")]
        self.handed = {1}  # generations handed out as refresh tokens

    @rule(seconds=st.one_of(st.floats(0, 30), st.sampled_from([20.0, 60.0, 180.0, 181.0, 900.0, 7200.0])))
    def wait(self, seconds: float) -> None:
        self.model.now += seconds

    @rule(seconds=st.floats(0.001, 100))
    def clock_steps_back(self, seconds: float) -> None:
        self.model.now -= seconds

    @rule(
        back=st.integers(0, 3),
        facts=st.sampled_from([HOME, HOME, HOME, CAFE, PHONE]),
        waited=st.sampled_from([0.0, 0.0, 4.0]),
    )
    def present(self, back: int, facts, waited: float) -> None:  # type: ignore[no-untyped-def]
        generation = self.model.session.generation - back
        if generation not in self.handed:
            return
        before = self.model.session
        elapsed = self.model.now - before.rotated_at
        decision = self.model.present(generation, facts=facts, waited=waited)
        self._check(decision, generation, before, elapsed)

    def _check(self, decision: Decision, presented: int, before, elapsed: float) -> None:  # type: ignore[no-untyped-def]
        after = self.model.session
        if decision.outcome in REFUSING:
            assert replace(after, retries=()) == replace(before, retries=())
            assert decision.grant is decision.successor is decision.revoke is None
        if decision.outcome is Outcome.THEFT:
            assert after.revoked_at is not None
            assert decision.grant is decision.successor is None
            assert presented < before.generation
            if decision.revoke is RevokeScope.USER:
                assert self.model.sessions["session-2"].revoked_at is not None
            elif self.model.policy.on_reuse is OnReuse.REVOKE_USER:
                assert before.presented_generation <= presented
        if decision.outcome in ISSUING:
            assert before.revoked_at is None
            assert decision.grant is not None
            assert self.model.now < decision.grant.expires_at <= after.max_access_exp
            assert decision.grant.expires_at <= after.absolute_expires_at
            self.held.append(self.model.held(decision))
        if decision.successor is not None:
            # One newest generation: what is handed out is it, and it only grows by presenting it.
            assert decision.successor == after.generation
            assert after.generation == before.generation or presented == before.generation
            self.handed.add(decision.successor)
        if decision.outcome is Outcome.RETRY:
            assert before.confirmed_generation < before.generation
            assert (after.generation, after.delivery) == (before.generation, before.delivery + 1)
        if decision.outcome is Outcome.RACE:
            assert decision.grant.generation == presented  # type: ignore[union-attr]
            assert (decision.successor is None) is (self.channel is Channel.COOKIE)
        if decision.outcome is Outcome.ROTATED:
            assert presented == before.generation

    @rule(which=st.integers(0, 50), passive=st.booleans())
    def use(self, which: int, passive: bool) -> None:
        held = self.held[which % len(self.held)]
        before = self.model.sessions[held.sid]
        used = self.model.use(held, passive=passive)
        after = self.model.sessions[held.sid]
        if after.confirmed_generation != before.confirmed_generation:
            assert used
            assert held.grant.delivery > 0
            assert held.grant.generation == before.generation == after.confirmed_generation

    @rule(which=st.sampled_from(["neither"] * 12 + ["session-1", "all"]))
    def log_out(self, which: str) -> None:
        if which == "session-1":
            self.model.end("session-1")
        elif which == "all":
            self.model.end_all()

    @invariant()
    def the_row_is_sound(self) -> None:
        session = self.model.session
        assert session.delivery >= 1
        assert session.confirmed_generation <= session.generation
        assert session.presented_generation < session.generation
        assert len(session.retries) <= 2 * retries.LIMIT * retries.GENERATIONS

    @invariant()
    def nothing_is_usable_after_the_end(self) -> None:
        for held in self.held:
            session = self.model.sessions[held.sid]
            if session.revoked_at is not None:
                assert not self.model.usable(held)
                if session.revoke_reason is RevokeReason.REUSE:
                    assert self.model.present(session.generation, sid=held.sid).outcome is Outcome.DEAD

    @invariant()
    def one_holder_has_lasting_access_to_a_generation(self) -> None:
        # Several may hold race tokens for a moment; of the deliveries proper only the last one works.
        working: dict[int, set[int]] = {}
        for held in self.held:
            if held.sid == "session-1" and held.grant.delivery > 0 and self.model.usable(held):
                working.setdefault(held.grant.generation, set()).add(held.grant.delivery)
        assert all(len(deliveries) == 1 for deliveries in working.values())


Rotation.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestRotationRule = Rotation.TestCase
