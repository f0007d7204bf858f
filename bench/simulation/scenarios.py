"""Who is simulated: honest clients with every kind of bad luck, and thieves beside an honest client."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bench.simulation.clients import Habits
from bench.simulation.thieves import Plan
from bench.simulation.world import HOUR, MINUTE, Network

LOSSY = Network(lost_requests=0.02, lost_answers=0.02)
MOBILE = Network(
    median=0.15, sigma=1.2, lost_requests=0.06, lost_answers=0.06, late=0.02, roams=6 * MINUTE, stalled=0.01
)


@dataclass(frozen=True, slots=True)
class Honest:
    """A client nobody steals from. `allowed`: what false log-outs per 1,000 days must stay below, None: no goal."""

    name: str
    habits: Habits
    allowed: float | None = 0.0


@dataclass(frozen=True, slots=True)
class Stolen:
    """A client whose refresh token is copied once. `hours` after the theft are watched."""

    name: str
    habits: Habits
    plan: Plan
    hours: float = 4.0

    @property
    def adaptive(self) -> bool:
        """Whether the thief plays by the rules it knows."""
        return self.plan.every is None


_TABS = Habits(awake=50 * MINUTE, asleep=40 * MINUTE)
_BODY = replace(_TABS, tabs=2, body=True, flush=0.0)

HONEST = (
    Honest("1 tab", replace(_TABS, tabs=1)),
    Honest("5 tabs, one jar", _TABS),
    Honest("10 tabs, one jar", replace(_TABS, tabs=10)),
    Honest("5 tabs, client's lock", replace(_TABS, shared_access=True)),
    Honest("body, 2 processes", replace(_BODY, network=LOSSY)),
    Honest("session mode", replace(_TABS, tabs=3, shared_access=True, receipts=False, network=LOSSY)),
    Honest("5 tabs, lost answers", replace(_TABS, network=LOSSY)),
    Honest("5 tabs, requests minutes late", replace(_TABS, network=replace(LOSSY, late=0.05))),
    Honest("5 tabs, two nodes 5 s apart", replace(_TABS, skew=5.0)),
    Honest("5 tabs, slow store", replace(_TABS, network=replace(LOSSY, stalled=0.3))),
    Honest(
        "phone, roaming and losing 12 %", replace(_TABS, tabs=2, awake=10 * MINUTE, asleep=20 * MINUTE, network=MOBILE)
    ),
    Honest("app (body), roaming and losing 12 %", replace(_BODY, tabs=1, awake=10 * MINUTE, network=MOBILE)),
    Honest("5 tabs, a crash every 200 h of use", replace(_TABS, crashes=200 * HOUR), allowed=1.0),
    Honest("the same, lost answers", replace(_TABS, crashes=200 * HOUR, network=LOSSY), allowed=1.0),
    Honest(
        "5 tabs, client's lock, a crash every 4 h", replace(_TABS, shared_access=True, crashes=4 * HOUR), allowed=1.0
    ),
    Honest("5 tabs, a crash every 4 h (no goal)", replace(_TABS, crashes=4 * HOUR), allowed=None),
)

_AWAKE = Habits(network=LOSSY)
_ONE = replace(_AWAKE, tabs=1)
_APP = replace(_AWAKE, tabs=1, body=True, flush=0.0)

STOLEN = (
    Stolen("every 10 min, same network", _AWAKE, Plan(every=10 * MINUTE)),
    Stolen("every 10 min, elsewhere", _AWAKE, Plan(every=10 * MINUTE, elsewhere=True)),
    Stolen("every 3 min, one tab", _ONE, Plan(every=3 * MINUTE)),
    Stolen("polling every 8 s", _AWAKE, Plan(every=8.0)),
    Stolen("polling every 8 s, one tab", _ONE, Plan(every=8.0)),
    Stolen("every 10 min, body", _APP, Plan(every=10 * MINUTE)),
    Stolen("adaptive, same device and network", _AWAKE, Plan()),
    Stolen("adaptive, same device, one tab", _ONE, Plan()),
    Stolen("adaptive, elsewhere", _AWAKE, Plan(elsewhere=True)),
    Stolen("adaptive, elsewhere, one tab", _ONE, Plan(elsewhere=True)),
    Stolen("adaptive and greedy, one tab", _ONE, Plan(greedy=True)),
    Stolen("adaptive and greedy, elsewhere, one tab", _ONE, Plan(greedy=True, elsewhere=True)),
    Stolen("adaptive, foresees each refresh", _AWAKE, Plan(foresees=True)),
    Stolen("adaptive, foresees each refresh, one tab", _ONE, Plan(foresees=True)),
    Stolen("adaptive, foresees each refresh, body", _APP, Plan(foresees=True)),
    Stolen("adaptive, body", _APP, Plan()),
    Stolen("adaptive and greedy, body", _APP, Plan(greedy=True)),
)
