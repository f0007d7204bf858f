"""Whether requests would be served properly, check by check, with what was found; and what else is worth knowing."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.admin_api.health import Check, Report
from gateway.clock import Clock
from gateway.deployment import clock_difference, clock_tolerance
from gateway.errors import GatewayError
from gateway.proxy.forward import Proxy
from gateway.sessions.canary import Canary
from gateway.sessions.revocation import STALE_AFTER, RevocationFollower
from gateway.settings.model import Settings
from gateway.stores.bundle import Stores
from gateway.tokens.key_service import KeyService


class Readiness:
    """The checks of one process. `state`: what keeps it from serving, None while it serves."""

    def __init__(
        self, stores: Stores, clock: Clock, follower: RevocationFollower, canary: Canary, keys: KeyService
    ) -> None:
        self.state: str | None = "starting"
        self._stores = stores
        self._clock = clock
        self._follower = follower
        self._canary = canary
        self._keys = keys

    async def checks(self, settings: Settings) -> dict[str, Check]:
        """Every check. None of them raises."""
        return {**self.quick(), "database": await self._database(), "clock": await self._clocks(settings)}

    def quick(self) -> dict[str, Check]:
        """The checks that await nothing."""
        return {"serving": self._serving(), "revocation feed": self._feed(), "signing key": self._signing_key()}

    async def report(self, settings: Settings, proxy: Proxy, others: Mapping[str, str | None]) -> Report:
        """All of it; `others` are checks that were made elsewhere."""
        checks = await self.checks(settings)
        checks |= {name: Check(problem) for name, problem in others.items()}
        return Report(checks, self._information(proxy))

    def _serving(self) -> Check:
        return Check(None if self.state is None else f"not serving ({self.state})")

    def _feed(self) -> Check:
        staleness = self._follower.staleness()
        if staleness > STALE_AFTER:
            return Check(f"not read for {staleness:.0f} s, {STALE_AFTER:.0f} s are allowed")
        return Check(detail=f"read {staleness:.1f} s ago, {STALE_AFTER:.0f} s are allowed")

    def _signing_key(self) -> Check:
        pair = self._keys.ring.due(self._clock.now())
        return Check("there is none that signs") if pair is None else Check(detail=f"{pair.algorithm} key {pair.kid}")

    async def _database(self) -> Check:
        try:
            await self._stores.database.ping()
        except GatewayError as error:
            return Check(error.debug or error.title)
        return Check()

    async def _clocks(self, settings: Settings) -> Check:
        """Rotation is reckoned in the store's time, tokens in ours."""
        try:
            apart = await clock_difference(self._stores, self._clock)
        except GatewayError as error:
            return Check(error.debug or error.title)
        allowed = clock_tolerance(settings)
        text = f"{apart:.1f} s from the database's, {allowed:.1f} s are allowed"
        return Check(detail=text) if apart <= allowed else Check(text)

    def _information(self, proxy: Proxy) -> dict[str, str]:
        age = self._canary.age()
        return {
            "canary": "off" if age is None else f"{age:.0f} s since the last",
            **{f"upstream {endpoint.url}": "down" if endpoint.down else "up" for endpoint in proxy.endpoints},
        }
