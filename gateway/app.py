"""The composition root: settings go in, a running gateway comes out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from aiohttp import web

from gateway import policies, tasks
from gateway.admin_api.exposition import Snapshot
from gateway.admin_api.health import build_admin
from gateway.clock import Clock
from gateway.credentials.hasher import PasswordHasher
from gateway.credentials.pool import default_permits
from gateway.credentials.users import UserService
from gateway.deployment import clock_difference, clock_tolerance, lock_timeout, open_master
from gateway.errors import GatewayError
from gateway.events import Event, Level, Name
from gateway.faces import VERIFIED_TOKENS, Core, Faces, build_faces
from gateway.proxy.forward import Proxy
from gateway.proxy.front import Front
from gateway.risk.device import preload
from gateway.sessions.denied_use import DeniedUse
from gateway.sessions.receipts import ReceiptQueue
from gateway.sessions.revocation import STALE_AFTER, RevocationFollower, RevocationIndex
from gateway.sessions.service import SessionService
from gateway.settings.model import Settings
from gateway.stores.bundle import Stores
from gateway.stores.factory import open_stores
from gateway.stores.timed import timed
from gateway.telemetry.activity import Activity
from gateway.telemetry.logging import Telemetry, configure
from gateway.telemetry.metrics import Family, Kind, merged
from gateway.telemetry.ports import Exclusive
from gateway.throttle.login import LoginThrottle
from gateway.throttle.refresh import RefreshThrottle
from gateway.tokens.access_token import AccessTokenIssuer, AccessTokenVerifier
from gateway.tokens.key_service import KeyService
from gateway.tokens.marks import store_incarnation
from gateway.tokens.refresh_token import RefreshTokens
from gateway.tokens.verified import VerifiedTokenCache

KEYS_EVERY: Final = 10.0
CLEANUP_EVERY: Final = 60.0
CLEANUP_BATCH: Final = 200
LEAVE: Final = 1.0
"""Seconds in which a gateway that stops still answers what comes over connections that were open before."""


class Gateway:
    """A gateway that is ready to serve: hand `front` to a listener. Made by `open_gateway`."""

    def __init__(self, settings: Settings, stores: Stores, telemetry: Telemetry, clock: Clock) -> None:
        self.settings = settings
        self.stores = stores
        self.telemetry = telemetry
        self.events = telemetry.events
        self.clock = clock
        self.index = RevocationIndex()
        self.receipts = ReceiptQueue(stores.sessions, clock, self.events)
        self.follower = RevocationFollower(stores.sessions, self.index, clock, self.events)
        hashing = settings.passwords.hashing
        self.hasher = PasswordHasher(
            permits=hashing.permits or default_permits(settings.server.workers), queue=hashing.queue
        )
        self.warnings: tuple[str, ...] = ()
        self.front: Front
        self.keys: KeyService
        self._core: Core
        self._faces: Faces
        self._jobs: list[asyncio.Task[object]] = []
        self._serving = False

    @property
    def proxy(self) -> Proxy:
        """The data plane under the configuration in force."""
        return self._faces.proxy

    @property
    def users(self) -> UserService:
        """What can be done to users, under the configuration in force."""
        return self._faces.users

    @property
    def sessions(self) -> SessionService:
        """What can be done to sessions, under the configuration in force."""
        return self._faces.sessions

    @property
    def verified(self) -> VerifiedTokenCache[bytes]:
        """Access tokens that were found good."""
        return self._core.cache

    @property
    def login_throttle(self) -> LoginThrottle:
        """Who owes how many failed log-ins."""
        return self._core.login_throttle

    async def open(self, stack: AsyncExitStack) -> None:
        """Load what must be known before the first request, and start what runs behind the requests."""
        settings, stores = self.settings, self.stores
        stack.push_async_callback(self.hasher.close)
        master = await open_master(settings, stores)
        self.warnings = master.warnings
        if not settings.routes:
            self.warnings += ("no route is configured: everything but the gateway's own API is answered 404",)
        tokens = settings.tokens
        self.keys = KeyService(
            stores.keys, master, self.clock, tokens.algorithm.value, tokens.key_rotation, tokens.access_ttl, self.events
        )
        await self.keys.load()
        self._core = self._make_core(RefreshTokens(master, await store_incarnation(stores.keys)))
        stack.push_async_callback(self.receipts.close)
        await self.follower.start()
        stack.push_async_callback(self.follower.stop)
        self._faces = await build_faces(self._core, settings)
        stack.push_async_callback(self._close_faces)
        stack.callback(self.index.subscribe(self.proxy.streams.revoked))
        self.proxy.start()
        self.front = Front(self.proxy)
        self._read_gauges()
        stack.push_async_callback(self._stop_jobs)
        self._every(KEYS_EVERY, "signing keys", self.keys.refresh_if_due)
        self._every(CLEANUP_EVERY, "cleanup", self._clean_up)
        await asyncio.to_thread(preload)
        self._serving = True

    async def prepare(self, settings: Settings) -> Callable[[], None]:
        """Build everything for `settings`; what is returned puts it in force, at once and as a whole.

        Only what can change in a running process may differ from the settings in force (`runtime.reload` sees to it).
        """
        faces = await build_faces(self._core, settings, self._faces)
        return lambda: self._change_over(faces)

    async def leave(self) -> None:
        """Begin to stop gently: for a moment connections that stay get their next answer with `Connection: close`."""
        self._serving = False
        await self.front.leave(LEAVE)

    async def drain(self, seconds: float) -> None:
        """Close who is idle, answer further requests 503, and give those under way `seconds` to finish."""
        self.front.drain()
        await self.front.shutdown(seconds)
        self.telemetry.access.flush()

    async def checks(self) -> Mapping[str, str | None]:
        """Readiness, per check None or what is wrong."""
        return {
            **self.quick_checks(),
            "database": await self._database_problem(),
            "clock": await self._clock_problem(),
        }

    def quick_checks(self) -> dict[str, str | None]:
        """The checks that await nothing."""
        staleness = self.follower.staleness()
        return {
            "serving": None if self._serving else "not serving (starting or draining)",
            "revocation feed": None if staleness <= STALE_AFTER else f"not read for {staleness:.0f} s",
        }

    def admin(
        self, others: Callable[[], Mapping[str, str | None]] = dict, elsewhere: Snapshot | None = None
    ) -> web.Application:
        """The application of the admin listener; `others` are checks that are made elsewhere, `elsewhere` gives what is
        counted there.
        """

        async def checks() -> Mapping[str, str | None]:
            return {**await self.checks(), **others()}

        async def snapshot() -> Iterable[Family]:
            return self.counted() if elsewhere is None else merged([await elsewhere(), self.counted()])

        return build_admin(checks, snapshot)

    def counted(self) -> list[Family]:
        """What this process has counted."""
        self.telemetry.access.flush()
        return self.telemetry.metrics.snapshot()

    def _read_gauges(self) -> None:
        """What is asked for when somebody looks, not counted all the time. The proxy may be another then."""
        read, cache = self.telemetry.metrics.read_from, self._core.cache
        gauge, counter = Kind.GAUGE, Kind.COUNTER
        read(
            "gateway_revocation_staleness_seconds",
            "Since the revocation feed was last read.",
            Kind.GREATEST,
            self.follower.staleness,
        )
        read("gateway_client_connections", "Open, of clients.", gauge, lambda: len(self.front.connections))
        read("gateway_upstream_connections", "Open, to backends.", gauge, lambda: self.proxy.open_upstream_connections)
        read(
            "gateway_open_streams", "Event streams and WebSockets of sessions.", gauge, lambda: len(self.proxy.streams)
        )
        read("gateway_receipts_waiting", "Receipts not yet written.", gauge, lambda: len(self.receipts))
        read("gateway_verified_tokens", "Access tokens remembered as verified.", gauge, lambda: len(cache))
        read("gateway_token_verifications", "Access tokens not found there.", counter, lambda: cache.misses)
        read("process_cpu_seconds", "User and system time.", counter, time.process_time)

    def _make_core(self, refresh_tokens: RefreshTokens) -> Core:
        settings, ring = self.settings, self.keys.ring
        throttle = policies.throttle_policy(settings)
        return Core(
            stores=self.stores,
            telemetry=self.telemetry,
            clock=self.clock,
            index=self.index,
            receipts=self.receipts,
            follower=self.follower,
            hasher=self.hasher,
            keys=self.keys,
            refresh_tokens=refresh_tokens,
            verifier=AccessTokenVerifier(ring, settings.issuer, settings.tokens.audience, self.clock),
            issuer=AccessTokenIssuer(ring, settings.issuer, settings.tokens.audience),
            cache=VerifiedTokenCache(VERIFIED_TOKENS, ring),
            denied_use=DeniedUse(self.events),
            login_throttle=LoginThrottle(self.clock, throttle),
            refresh_throttle=RefreshThrottle(self.clock, throttle),
        )

    def _change_over(self, faces: Faces) -> None:
        before, self._faces, self.settings = self._faces, faces, faces.settings
        throttle = policies.throttle_policy(faces.settings)
        self._core.login_throttle.change(throttle)
        self._core.refresh_throttle.change(throttle)
        logging = faces.settings.logging
        self.telemetry.change(logging.level.value, access_log=logging.access_log)
        self.front.change_over(faces.proxy)
        tasks.spawn(before.api.cleanup(), name="own api of the old configuration")

    async def _close_faces(self) -> None:
        self._faces.proxy.close()
        await self._faces.api.cleanup()

    def _every(self, seconds: float, work: str, do: Callable[[], Awaitable[object]]) -> None:
        """Run `do` every `seconds`; a failure is reported once per outage and tried again."""

        async def repeat() -> None:
            failing = False
            while True:
                await asyncio.sleep(seconds)
                try:
                    await do()
                    failing = False
                except Exception as error:  # noqa: BLE001 - the job must outlive any failure of one run
                    if not failing:
                        self._report(work, error)
                    failing = True

        self._jobs.append(tasks.spawn(repeat(), name=work))

    async def _clean_up(self) -> None:
        more = True
        while more:  # in small batches: a refresh never waits behind a large one
            more = await self.sessions.cleanup(CLEANUP_BATCH) >= CLEANUP_BATCH

    async def _stop_jobs(self) -> None:
        for job in self._jobs:
            await tasks.cancel(job)

    async def _clock_problem(self) -> str | None:
        """Rotation is reckoned in the store's time, tokens in ours."""
        try:
            apart = await clock_difference(self.stores, self.clock)
        except GatewayError as error:
            return error.debug or error.title
        allowed = clock_tolerance(self.settings)
        return None if apart <= allowed else f"{apart:.1f} s from the database's, {allowed:.1f} s are allowed"

    async def _database_problem(self) -> str | None:
        try:
            await self.stores.database.ping()
        except GatewayError as error:
            return error.debug or error.title
        return None

    def _report(self, work: str, error: Exception) -> None:
        reason = error.debug if isinstance(error, GatewayError) else None
        fields = {"work": work, "error": reason or f"{type(error).__name__}: {error}"}
        self.events.emit(Event(Name.STORE_FAILED, Level.ERROR, fields=fields))


@asynccontextmanager
async def open_gateway(
    settings: Settings, clock: Clock, *, exclusive: Exclusive | None = None
) -> AsyncIterator[Gateway]:
    """Open everything `settings` asks for, and close it in reverse. Raises `CannotStart` with one clear line.

    `exclusive` keeps other processes from writing to the same stdout in the middle of our lines.
    """
    async with AsyncExitStack() as stack:
        stores = await open_stores(
            settings.storage.database, clock=clock, busy_timeout=lock_timeout(settings), pool=settings.storage.pool
        )
        stack.push_async_callback(stores.database.close)
        logging = settings.logging
        telemetry = configure(
            clock,
            format=logging.format.value,
            level=logging.level.value,
            access_log=logging.access_log,
            activity=Activity(stores.events, clock, keep=logging.events_keep),
            exclusive=exclusive,
        )
        stack.push_async_callback(telemetry.close)
        gateway = Gateway(settings, timed(stores, telemetry.metrics.store_call), telemetry, clock)
        await gateway.open(stack)
        yield gateway
