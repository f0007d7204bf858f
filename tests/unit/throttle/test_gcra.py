"""The rate algorithm."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.throttle.gcra import Limit, charge, wait


def test_a_burst_then_the_pace() -> None:
    limit = Limit(3, 30.0)
    paid_at, now = 0.0, 100.0
    for _ in range(3):
        assert wait(paid_at, now, limit) == 0.0
        paid_at = charge(paid_at, now, limit.interval)
    assert wait(paid_at, now, limit) == 10.0
    assert wait(paid_at, now + 9.5, limit) == 0.5
    assert wait(paid_at, now + 10.0, limit) == 0.0
    assert wait(paid_at, now + 30.0, limit) == 0.0


@pytest.mark.parametrize(("count", "period"), [(0, 1.0), (1, 0.0), (1, -1.0)])
def test_a_limit_that_is_none_is_refused(count: int, period: float) -> None:
    with pytest.raises(ValueError, match="limit"):
        Limit(count, period)


@given(st.integers(1, 20), st.lists(st.floats(0.0, 5.0), max_size=80))
def test_never_more_than_the_count_in_any_period(count: int, gaps: list[float]) -> None:
    limit = Limit(count, 10.0)
    paid_at, now, passed = 0.0, 1000.0, []
    for gap in gaps:
        now += gap
        if wait(paid_at, now, limit) == 0.0:
            paid_at = charge(paid_at, now, limit.interval)
            passed.append(now)
    for start in passed:
        # A burst, and what came back during the period.
        assert sum(start <= at < start + limit.period for at in passed) <= 2 * count
        assert sum(start <= at < start + limit.interval * 0.999 for at in passed) <= count
