"""Which endpoint of a route a request goes to: the one with the fewest requests under way for its weight."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from gateway.errors import TemporarilyUnavailable

if TYPE_CHECKING:
    from gateway.proxy.endpoint import Endpoint

_LONGEST_RETRY_AFTER: Final = 60.0


class Member:
    """An endpoint as one route sees it. `credit` is what smooth weighted round-robin remembers."""

    __slots__ = ("credit", "endpoint", "weight")

    def __init__(self, endpoint: Endpoint, weight: int) -> None:
        self.endpoint = endpoint
        self.weight = weight
        self.credit = 0


class Balancer:
    """The endpoints of a route.

    `only` is the answer where there is nothing to choose: one endpoint, and nothing against it. `strict`: breakers
    count whatever is left. Otherwise they count as long as there is an alternative: the only endpoint is tried always,
    and when all are open those that can be connected to are.
    """

    __slots__ = ("_down", "_guarded", "_members", "_strict", "_up", "only")

    def __init__(self, members: Sequence[Member], *, strict: bool) -> None:
        self._members = members
        self._strict = strict
        self._guarded = strict or len(members) > 1
        self._up: list[Member] = []
        self._down: list[Member] = []
        self.only: Endpoint | None = None
        for member in members:
            member.endpoint.watchers.append(self)
        self.refresh()

    def refresh(self) -> None:
        """An endpoint's state has changed."""
        self._up = [member for member in self._members if self._is_up(member.endpoint)]
        self._down = [member for member in self._members if member not in self._up]
        self.only = self._up[0].endpoint if len(self._members) == len(self._up) == 1 else None

    def leave(self) -> None:
        """The route is gone."""
        for member in self._members:
            member.endpoint.watchers.remove(self)

    def choose(self, now: float) -> Endpoint:
        """The endpoint for a request. Raises `TemporarilyUnavailable` when none is healthy."""
        for member in self._down:
            if member.endpoint.admits(now):  # this request is the one that finds out
                return member.endpoint
        left = self._up or self._last()
        if not left:
            raise TemporarilyUnavailable(
                "No backend is healthy.", debug="no healthy upstream", retry_after=self._wait(now)
            )
        return _best(left)

    def another(self, tried: Endpoint, now: float) -> Endpoint | None:
        """One that is not `tried`, for a request that failed there."""
        up = [member for member in self._up if member.endpoint is not tried]
        if up:
            return _best(up)
        return next(
            (member.endpoint for member in self._down if member.endpoint is not tried and member.endpoint.admits(now)),
            None,
        )

    def _last(self) -> list[Member]:
        """What there is to try when every breaker is open: requests that a client makes fail must not end a route."""
        if self._strict:
            return []
        return [member for member in self._down if member.endpoint.healthy and not member.endpoint.unconnectable]

    def _is_up(self, endpoint: Endpoint) -> bool:
        return endpoint.up if self._guarded else endpoint.healthy

    def _wait(self, now: float) -> int:
        waits = [member.endpoint.wait(now) for member in self._members]
        return max(1, math.ceil(min(*waits, _LONGEST_RETRY_AFTER)))


def _best(members: Sequence[Member]) -> Endpoint:
    """The least busy for its weight; among equals it is their turn by weight, as smooth round-robin mixes it."""
    best = members[0]
    least = best.endpoint.outstanding / best.weight
    equals: list[Member] | None = None
    for member in members[1:]:
        load = member.endpoint.outstanding / member.weight
        if load < least:
            best, least, equals = member, load, None
        elif load == least:
            if equals is None:
                equals = [best]
            equals.append(member)
    if equals is not None:
        total = 0
        for member in equals:
            member.credit += member.weight
            total += member.weight
            if member.credit > best.credit:
                best = member
        best.credit -= total
    return best.endpoint
