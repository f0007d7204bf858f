"""Limits that all gateways count together, and those of this process for as long as that cannot be had.

The limits of the process hear of every attempt too, so that an outage begins with what is known here, never with no
limit at all. While the shared ones answer, they alone decide: they know of a success at another gateway.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from gateway.clock import Clock
from gateway.errors import GatewayError, TemporarilyUnavailable
from gateway.events import Event, EventSink, Level, Name
from gateway.throttle.login import LoginThrottle
from gateway.throttle.policy import ThrottlePolicy
from gateway.throttle.ports import SharedLoginLimiter, SharedRefreshLimiter
from gateway.throttle.refresh import RefreshThrottle

ASK_AGAIN: Final = 1.0
"""Seconds between two attempts to reach what did not answer: nobody's log-in waits for more of them."""


class Reach:
    """Whether the shared limits can be had; tells once when that ends and once when it is so again."""

    def __init__(self, clock: Clock, events: EventSink) -> None:
        self._clock = clock
        self._events = events
        self._down = False
        self._again_at = 0.0

    async def ask(self, call: Callable[[], Awaitable[float | None]]) -> tuple[bool, float]:
        """Whether the shared limits answered, and what."""
        if self._down and self._clock.monotonic() < self._again_at:
            return False, 0.0
        self._again_at = self._clock.monotonic() + ASK_AGAIN
        try:
            answer = await call()
        except TemporarilyUnavailable as error:
            self._lost(error)
            return False, 0.0
        if self._down:
            self._down = False
            self._events.emit(Event(Name.THROTTLE_SHARED, Level.INFO))
        return True, answer or 0.0

    def _lost(self, error: GatewayError) -> None:
        self._again_at = self._clock.monotonic() + ASK_AGAIN
        if not self._down:
            self._down = True
            self._events.emit(Event(Name.THROTTLE_LOCAL, Level.ERROR, fields={"error": error.debug or error.title}))


class FallbackLoginLimiter:
    """A `LoginLimiter`: the shared one, or `local` while that does not answer."""

    def __init__(self, shared: SharedLoginLimiter, local: LoginThrottle, reach: Reach) -> None:
        self._shared = shared
        self.local = local
        self._reach = reach

    def change(self, policy: ThrottlePolicy) -> None:
        """Go on under other limits; nobody's debt is forgotten."""
        self._shared.change(policy)
        self.local.change(policy)

    async def check(self, username_key: str, network: str) -> float:
        """Seconds to wait, 0 to go on: then the attempt counts as under way."""
        here = await self.local.check(username_key, network)
        answered, delay = await self._reach.ask(lambda: self._shared.check(username_key, network))
        if not answered:
            return here
        if delay > 0 and here == 0:
            await self.local.abandoned(username_key, network)
        return delay

    async def failed(self, username_key: str, network: str) -> None:
        """The attempt was wrong."""
        await self.local.failed(username_key, network)
        await self._reach.ask(lambda: self._shared.failed(username_key, network))

    async def succeeded(self, username_key: str, network: str) -> None:
        """The attempt was right."""
        await self.local.succeeded(username_key, network)
        await self._reach.ask(lambda: self._shared.succeeded(username_key, network))

    async def abandoned(self, username_key: str, network: str) -> None:
        """The attempt came to no answer."""
        await self.local.abandoned(username_key, network)
        await self._reach.ask(lambda: self._shared.abandoned(username_key, network))


class FallbackRefreshLimiter:
    """A `RefreshLimiter`: the shared one, or `local` while that does not answer."""

    def __init__(self, shared: SharedRefreshLimiter, local: RefreshThrottle, reach: Reach) -> None:
        self._shared = shared
        self._local = local
        self._reach = reach

    def change(self, policy: ThrottlePolicy) -> None:
        """Go on under other limits; nobody's debt is forgotten."""
        self._shared.change(policy)
        self._local.change(policy)

    async def check(self, network: str) -> float:
        """Seconds to wait before another forged token is answered as such; 0: answer."""
        here = await self._local.check(network)
        answered, delay = await self._reach.ask(lambda: self._shared.check(network))
        return delay if answered else here

    async def forged(self, network: str) -> None:
        """A token with a bad MAC came from `network`."""
        await self._local.forged(network)
        await self._reach.ask(lambda: self._shared.forged(network))
