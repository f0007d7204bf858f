"""Every scenario with every peer in turn, round after round."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections import defaultdict
from collections.abc import Sequence

from bench.measured import Row, median
from bench.peers.peer import Peer
from bench.scenarios.scenario import LeftOut, Scenario
from bench.world import World

_WARM_UP = 0.5
LIMIT = 14.5 * 60.0
"""Seconds after which no further round is begun."""
Found = dict[tuple[str, str], list[Row]]


def measure(world: World, scenarios: Sequence[Scenario], options: argparse.Namespace) -> dict[str, object]:
    """Medians by scenario and peer, and what was left out and why."""
    began, runs = time.monotonic(), defaultdict(list)
    _drop_those_that_do_not_start(world)
    absent: dict[str, dict[str, str]] = defaultdict(dict)
    done = 0
    for number in range(1, options.rounds + 1):
        if time.monotonic() - began > LIMIT / 4:
            break
        _fresh(world, [scenario for scenario in scenarios if scenario.fresh], runs, absent, number)
    with contextlib.ExitStack() as stack:
        world.start(world.gateway, stack)
        for peer in world.peers.values():
            world.start(peer, stack)
        for number in range(options.rounds + 1):
            round_began = time.monotonic()
            _round(world, scenarios, options.seconds, runs, absent, number)
            done = number
            now = time.monotonic()
            if now - began + (now - round_began) > LIMIT:
                break
    return {
        "scenarios": {
            scenario.name: {
                "title": scenario.title,
                "peers": {
                    name: {**median(runs[scenario.name, name]), "runs": len(runs[scenario.name, name])}
                    for name in world.peers
                    if runs[scenario.name, name]
                },
                "left_out": absent[scenario.name],
            }
            for scenario in scenarios
        },
        "peers": {peer.name: peer.title for peer in world.peers.values()},
        "left_out": world.left_out,
        "rounds": done,
        "seconds": options.seconds,
        "took_s": round(time.monotonic() - began),
    }


def _drop_those_that_do_not_start(world: World) -> None:
    with contextlib.ExitStack() as stack:
        world.start(world.gateway, stack)
        for peer in list(world.peers.values()):
            try:
                world.start(peer, stack)
            except RuntimeError as problem:
                world.left_out[peer.name] = str(problem)
                del world.peers[peer.name]


def _fresh(
    world: World, scenarios: list[Scenario], runs: Found, absent: dict[str, dict[str, str]], number: int
) -> None:
    for scenario in scenarios:
        for peer in _fit(world, scenario, absent):
            with contextlib.ExitStack() as stack:
                world.start(world.gateway, stack)
                world.start(peer, stack)
                _one(world, scenario, peer, runs, absent, (number, 0.0))


def _round(
    world: World,
    scenarios: Sequence[Scenario],
    seconds: float,
    runs: Found,
    absent: dict[str, dict[str, str]],
    number: int,
) -> None:
    for scenario in scenarios:
        if not scenario.fresh:
            fit = _fit(world, scenario, absent)
            turn = number % max(len(fit), 1)
            for peer in fit[turn:] + fit[:turn]:  # nobody always comes after the same neighbour
                _one(world, scenario, peer, runs, absent, (number, seconds))


def _fit(world: World, scenario: Scenario, absent: dict[str, dict[str, str]]) -> list[Peer]:
    wanted = [peer for peer in world.peers.values() if not scenario.only or peer.name in scenario.only]
    for peer in wanted:
        if lacking := scenario.needs & peer.lacks:
            absent[scenario.name].setdefault(peer.name, f"has no {', '.join(sorted(lacking))}")
    return [peer for peer in wanted if peer.name not in absent[scenario.name]]


def _one(
    world: World,
    scenario: Scenario,
    peer: Peer,
    runs: Found,
    absent: dict[str, dict[str, str]],
    when: tuple[int, float],
) -> None:
    number, seconds = when
    print(f"round {number}: {scenario.name}: {peer.name}", file=sys.stderr)
    try:
        row = scenario.measure(peer, world, seconds if number else min(_WARM_UP, seconds), warm_up=not number)
    except LeftOut as reason:
        absent[scenario.name][peer.name] = str(reason)
        return
    if number:  # the first round only warms up
        runs[scenario.name, peer.name].append(row)
