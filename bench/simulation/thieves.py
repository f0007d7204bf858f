"""Thieves: each holds a copy of the victim's refresh token and knows the rules of the house."""

from __future__ import annotations

from dataclasses import dataclass

from bench.simulation.clients import Browser
from bench.simulation.gateways import Access, Kind
from bench.simulation.world import HOUR
from gateway.risk.facts import ClientFacts

TICK = 2.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How a thief behaves. `every`: seconds between presentations of the newest token; None is the adaptive one.

    `elsewhere`: another network than the victim's, with the same device label. `greedy`: the adaptive thief retries its
    own rotation to start the time before a receipt again. `foresees`: it rotates in the instant before the victim
    refreshes, so that the victim looks like the loser of a race.
    """

    every: float | None = None
    elsewhere: bool = False
    greedy: bool = False
    foresees: bool = False


class Thief:
    """Steals once, then lives on it."""

    def __init__(self, victim: Browser, plan: Plan, facts: ClientFacts) -> None:
        self.victim = victim
        self.world = victim.world
        self.plan = plan
        self.facts = facts
        self.token = victim.jar
        self.stolen_at = self.world.now
        self.stolen_awake = victim.awake_time()
        self.noticed_awake: float | None = None
        self.caught_awake: float | None = None
        self.cycles = 0
        self.cycles_noticed: int | None = None
        self.used: list[float] = []
        self.over = False
        self._access: list[Access] = []
        self._next = self.world.now
        self._raced = -1
        if plan.foresees:
            victim.on_send = self._rotate_first
        self.watch()
        self.world.after(0.0, self._tick)

    def most_in_an_hour(self) -> float:
        """The most minutes of access in any hour."""
        best = first = 0
        for last, at in enumerate(self.used):
            while at - self.used[first] > HOUR:
                first += 1
            best = max(best, last - first + 1)
        return best * TICK / 60.0

    def watch(self) -> None:
        """Note what the gateway noticed since the last look."""
        record = self.victim.gateway.record
        awake = self.victim.awake_time() - self.stolen_awake
        if record.noticed is not None and self.noticed_awake is None:
            self.noticed_awake, self.cycles_noticed = awake, self.cycles
        if record.caught is not None and self.caught_awake is None:
            self.caught_awake = awake

    def _tick(self) -> None:
        if self.victim.gateway.record.caught is None or self._access:
            self._use()
        if self.victim.gateway.record.caught is None and not self.over:
            if self.plan.every is None:
                self._adapt()
            elif self.world.now >= self._next:
                self._next = self.world.now + self.plan.every
                self._present(self.token)
        self.watch()
        self.world.after(TICK, self._tick)

    def _use(self) -> None:
        """Call with the first token that is still good; the adaptive thief never with one that would confirm."""
        gateway, now = self.victim.gateway, self.world.now
        self._access = [access for access in self._access if access.expires_at > now]
        for access in self._access:
            confirms = access.generation == gateway.current() and now >= access.receipt_at - TICK
            if self.plan.every is None and confirms:
                continue
            if gateway.use(access, now):
                self.used.append(now)
                return

    def _adapt(self) -> None:
        """Rotate first, race and retry for more, then wait until the victim has been given the same successor."""
        gateway, now = self.victim.gateway, self.world.now
        current, mine = gateway.current(), gateway.record.holder == "thief"
        if self.token == current and not mine:
            if not self.plan.foresees:
                self._present(self.token)
        elif self.token in (current, current - 1) and self._raced != current:
            self._raced = current
            self._present(current - 1)
        elif self.token == current - 1 and gateway.open_for_retry(now):
            self._present(self.token)  # the victim rotated; its answer may still be called lost
        elif self.plan.greedy and mine and gateway.open_for_retry(now) and self._worth_a_retry(current):
            self._present(current - 1)

    def _rotate_first(self) -> None:
        gateway = self.victim.gateway
        if gateway.record.caught is not None or self.over or gateway.record.holder == "thief":
            return
        if self.token == gateway.current():
            self._present(self.token)

    def _worth_a_retry(self, current: int) -> bool:
        latest = [access for access in self._access if access.generation == current and access.delivery > 0]
        # A token whose use would count at once says that the house is suspicious: more retries only make it worse.
        return bool(latest) and all(
            self.world.now >= a.receipt_at - TICK and a.receipt_at > a.expires_at - 890.0 for a in latest
        )

    def _present(self, token: int) -> None:
        gateway = self.victim.gateway
        before = gateway.current()
        answer = gateway.refresh(token, self.facts, self.world.now, 0.0, "thief")
        if answer.token is not None:
            self.token = max(self.token, answer.token)
        if answer.access is not None:
            self._access.append(answer.access)
        if gateway.current() > before:
            self.cycles += 1
        if answer.kind in (Kind.REFUSED, Kind.THEFT, Kind.CHALLENGED):
            self.over = True
        self.watch()
