"""kill -9 before, within and after transactions: what was acknowledged stands, what was not can be tried again."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from bench.crash_storm import POINTS, Storm, storm
from gateway.stores.sqlite import Point


async def test_nothing_acknowledged_is_lost_in_a_storm(tmp_path: Path) -> None:
    tally, broken = await storm(tmp_path / "gateway.db", kills=len(POINTS) + 10, sessions=6, seed=20260923)
    assert broken == []
    assert tally.kills == 25
    assert tally.acknowledged > 50
    assert tally.unheard > 0


@pytest.mark.parametrize("point", list(Point))
async def test_a_transaction_is_there_whole_or_not_at_all(tmp_path: Path, point: Point) -> None:
    raging = Storm(tmp_path / "gateway.db", random.Random(1))
    await raging.begin(1)
    assert await raging.strike(point) == []
    assert raging.tally.acknowledged == 0
    # The first transaction holds a rotation: committed unheard, or never done. A retry gets its successor either way.
    assert raging.tally.unheard == (1 if point is Point.AFTER_COMMIT else 0)
    assert raging.held[next(iter(raging.held))] == 2
    assert await raging.strike(point, nth=5) == []
