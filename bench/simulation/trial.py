"""One trial each: a day of an honest client, or the hours after a theft."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bench.simulation.baselines import PEERS
from bench.simulation.clients import DEVICE, Browser, Tally
from bench.simulation.scenarios import Honest, Stolen
from bench.simulation.thieves import Thief
from bench.simulation.world import DAY, HOUR, World
from gateway.sessions.session import Channel


@dataclass(frozen=True, slots=True)
class Theft:
    """What came of one theft. Times in awake minutes of the victim, access in minutes.

    `cycles`: rotations of the thief until it was noticed, all of them when it never was. `shut_out`: it was neither
    noticed nor caught, and had no access for the last hour.
    """

    noticed: float | None
    caught: float | None
    cycles: int
    access_per_hour: float
    access: float
    ended_user: bool
    shut_out: bool


def honest_days(scenario: Honest, peer: str, seed: str, days: float) -> Tally:
    """Days in the life of one client."""
    world = World(f"{seed}/{scenario.name}")
    channel = Channel.BODY if scenario.habits.body else Channel.COOKIE
    browser = Browser(world, scenario.habits, lambda: PEERS[peer](channel))
    world.run(days * DAY)
    browser.close()
    return browser.tally


def theft(scenario: Stolen, peer: str, seed: str) -> Theft:
    """An hour of honest use, then a theft, then some hours."""
    world = World(f"{seed}/{scenario.name}")
    channel = Channel.BODY if scenario.habits.body else Channel.COOKIE
    browser = Browser(world, scenario.habits, lambda: PEERS[peer](channel), keep=True)
    world.run(world.random.uniform(HOUR, 2 * HOUR))
    while world.stopped:  # the peer logged the victim out before anyone stole: begin again
        world.stopped = False
        browser.log_in()
        world.run(world.now + 60.0)
    facts = replace(DEVICE, address="192.0.2.9", network="192.0.2.0/24") if scenario.plan.elsewhere else browser.facts
    browser.gateway.record.noticed = None  # an alarm before the theft is no detection
    thief = Thief(browser, scenario.plan, facts)
    world.run(world.now + scenario.hours * HOUR)
    thief.watch()
    return Theft(
        noticed=_minutes(thief.noticed_awake),
        caught=_minutes(thief.caught_awake),
        cycles=thief.cycles if thief.cycles_noticed is None else thief.cycles_noticed,
        access_per_hour=thief.most_in_an_hour(),
        access=len(thief.used) * 2.0 / 60.0,
        ended_user=browser.gateway.record.ended_user,
        shut_out=thief.noticed_awake is None and not any(at > world.now - HOUR for at in thief.used),
    )


def _minutes(seconds: float | None) -> float | None:
    return None if seconds is None else seconds / 60.0
