"""The composition root: the one file that knows every layer. Settings go in, a running gateway comes out."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from aiohttp import web

from gateway import policies, tasks
from gateway.admin_api.health import build_admin
from gateway.auth_api.app import build_api
from gateway.auth_api.services import ApiLimits, ApiServices
from gateway.clock import Clock
from gateway.credentials.authenticator import Authenticator
from gateway.credentials.hasher import PasswordHasher
from gateway.credentials.passwords import PasswordPolicy
from gateway.credentials.pool import default_permits
from gateway.credentials.users import UserService
from gateway.deployment import clock_difference, clock_tolerance, lock_timeout, open_master
from gateway.errors import GatewayError
from gateway.events import Event, Level, Name
from gateway.proxy.authenticate import ProxyAuthenticator
from gateway.proxy.entropy import PooledEntropy
from gateway.proxy.forward import Proxy, ProxyPolicy
from gateway.proxy.front import Front
from gateway.proxy.identity import IdentityHeaders
from gateway.risk.device import preload
from gateway.sessions.denied_use import DeniedUse
from gateway.sessions.receipts import ReceiptQueue
from gateway.sessions.revocation import RevocationFollower, RevocationIndex
from gateway.sessions.service import SessionService
from gateway.settings.model import Settings
from gateway.stores.bundle import Stores
from gateway.stores.factory import open_stores
from gateway.stores.timed import timed
from gateway.telemetry.activity import Activity
from gateway.telemetry.logging import Telemetry, configure
from gateway.telemetry.metrics import Family, Kind
from gateway.throttle.login import LoginThrottle
from gateway.throttle.refresh import RefreshThrottle
from gateway.tokens.access_token import AccessTokenIssuer, AccessTokenVerifier
from gateway.tokens.jwks import jwks_document
from gateway.tokens.key_service import KeyService
from gateway.tokens.marks import store_incarnation
from gateway.tokens.refresh_token import RefreshTokens
from gateway.tokens.verified import VerifiedTokenCache
from gateway.web.bearer import BearerAuthenticator
from gateway.web.client_ip import ClientAddress
from gateway.web.context import RequestContexts
from gateway.web.csrf import CrossSitePolicy
from gateway.web.request_id import RequestIds

KEYS_EVERY: Final = 10.0
CLEANUP_EVERY: Final = 60.0
CLEANUP_BATCH: Final = 200
STALE_AFTER: Final = 5.0
"""Seconds without a look at the revocation feed after which `revocation: strict` routes answer 503."""
VERIFIED_TOKENS: Final = 20_000
"""Access tokens a worker remembers as verified, about 1 KB each."""


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
        self._denied_use = DeniedUse(self.events)  # one for both faces: it tells once per token
        self.follower = RevocationFollower(stores.sessions, self.index, clock, self.events)
        hashing = settings.passwords.hashing
        self.hasher = PasswordHasher(
            permits=hashing.permits or default_permits(settings.server.workers), queue=hashing.queue
        )
        self.users = UserService(
            stores.users, self.hasher, clock, policy=PasswordPolicy(min_length=settings.passwords.min_length)
        )
        self.warnings: tuple[str, ...] = ()
        self.api: web.AppRunner
        self.front: Front
        self.proxy: Proxy
        self.sessions: SessionService
        self.keys: KeyService
        self.verified: VerifiedTokenCache[bytes]
        self._jobs: list[asyncio.Task[object]] = []
        self._serving = False
        self._entropy = PooledEntropy()

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
        self.sessions = SessionService(
            stores.sessions,
            RefreshTokens(master, await store_incarnation(stores.keys)),
            AccessTokenIssuer(self.keys.ring, settings.issuer, tokens.audience),
            self.index,
            self.receipts,
            self.events,
            self.clock,
            policies.rotation_policy(settings),
            retention=settings.sessions.retention,
            new_id=self._new_id,
        )
        stack.push_async_callback(self.receipts.close)
        await self.follower.start()
        stack.push_async_callback(self.follower.stop)
        await self._build_faces(stack)
        stack.push_async_callback(self._stop_jobs)
        self._every(KEYS_EVERY, "signing keys", self.keys.refresh_if_due)
        self._every(CLEANUP_EVERY, "cleanup", self._clean_up)
        await asyncio.to_thread(preload)
        self._serving = True

    async def drain(self, seconds: float) -> None:
        """Answer 503 on connections that stay, and give requests under way `seconds` to finish."""
        self._serving = False
        self.front.drain()
        await self.front.shutdown(seconds)
        self.telemetry.access.flush()

    async def checks(self) -> Mapping[str, str | None]:
        """Readiness, per check None or what is wrong."""
        staleness = self.follower.staleness()
        return {
            "serving": None if self._serving else "not serving (starting or draining)",
            "database": await self._database_problem(),
            "clock": await self._clock_problem(),
            "revocation feed": None if staleness <= STALE_AFTER else f"not read for {staleness:.0f} s",
        }

    @property
    def admin(self) -> web.Application:
        """The application of the admin listener."""
        return build_admin(self.checks, self._snapshot)

    async def _snapshot(self) -> list[Family]:
        self.telemetry.access.flush()
        return self.telemetry.metrics.snapshot()

    async def _build_faces(self, stack: AsyncExitStack) -> None:
        """The own API and the proxy, behind one front."""
        settings = self.settings
        verifier = AccessTokenVerifier(self.keys.ring, settings.issuer, settings.tokens.audience, self.clock)
        addresses, ids = ClientAddress(settings.server.trusted_proxies), RequestIds(self._entropy)
        api = build_api(self._api_services(verifier, addresses, ids))
        self.api = web.AppRunner(api, access_log=None, handle_signals=False)
        await self.api.setup()
        stack.push_async_callback(self.api.cleanup)
        self.proxy = self._proxy(verifier, addresses, ids, api)
        stack.callback(self.proxy.close)
        self.proxy.start()
        stack.callback(self.index.subscribe(self.proxy.streams.revoked))
        self.front = Front(self.proxy)
        self._read_gauges()

    def _read_gauges(self) -> None:
        """What is asked for when somebody looks, instead of being counted all the time."""
        read, proxy, cache = self.telemetry.metrics.read_from, self.proxy, self.verified
        gauge, counter = Kind.GAUGE, Kind.COUNTER
        read(
            "gateway_revocation_staleness_seconds",
            "Since the revocation feed was last read.",
            Kind.GREATEST,
            self.follower.staleness,
        )
        read("gateway_client_connections", "Open, of clients.", gauge, lambda: len(self.front.connections))
        read("gateway_upstream_connections", "Open, to backends.", gauge, lambda: proxy.open_upstream_connections)
        read("gateway_open_streams", "Event streams and WebSockets of sessions.", gauge, lambda: len(proxy.streams))
        read("gateway_receipts_waiting", "Receipts not yet written.", gauge, lambda: len(self.receipts))
        read("gateway_verified_tokens", "Access tokens remembered as verified.", gauge, lambda: len(cache))
        read("gateway_token_verifications", "Access tokens not found there.", counter, lambda: cache.misses)
        read("process_cpu_seconds", "User and system time.", counter, time.process_time)

    def _api_services(self, verifier: AccessTokenVerifier, addresses: ClientAddress, ids: RequestIds) -> ApiServices:
        settings, clock = self.settings, self.clock
        throttle = policies.throttle_policy(settings)
        prefix = settings.sessions.binding.ip_prefix
        return ApiServices(
            sessions=self.sessions,
            users=self.users,
            authenticator=Authenticator(self.stores.users, self.hasher, self.events),
            throttle=LoginThrottle(clock, throttle),
            refresh_throttle=RefreshThrottle(clock, throttle),
            bearer=BearerAuthenticator(verifier, self.index, self.receipts, self._denied_use),
            jwks=lambda: jwks_document(self.keys.ring),
            contexts=RequestContexts(addresses, ids, clock, v4=prefix.v4, v6=prefix.v6),
            origins=CrossSitePolicy(settings.server.public_url, settings.auth.allowed_origins),
            cookie=policies.cookie_policy(settings),
            clock=clock,
            events=self.events,
            limits=ApiLimits(
                body_tokens=settings.auth.body_tokens, in_flight_window=settings.sessions.in_flight_window
            ),
            prefix=settings.auth.prefix,
            public_url=settings.server.public_url,
        )

    def _proxy(
        self, verifier: AccessTokenVerifier, addresses: ClientAddress, ids: RequestIds, api: web.Application
    ) -> Proxy:
        settings, ring = self.settings, self.keys.ring
        identity = IdentityHeaders(policies.identity_headers(settings))
        self.verified = VerifiedTokenCache[bytes](VERIFIED_TOKENS, ring)
        authenticator = ProxyAuthenticator(
            verifier,
            ring,
            self.verified,
            self.index,
            self.receipts,
            self._denied_use,
            identity,
            self.clock,
            self.follower.staleness,
        )
        policy = ProxyPolicy(
            policies.route_specs(settings),
            identity,
            cookies=(policies.cookie_policy(settings).raw_name,),
            forward_authorization=settings.identity.forward_authorization,
            reserved_prefix=settings.auth.prefix,
            dns_ttl=settings.server.dns_ttl,
            limits=policies.client_limits(settings),
        )
        until = self.sessions.access_until
        log = self.telemetry.access
        return Proxy(policy, authenticator, api, log, self.events, addresses, ids, self.clock, until)

    def _new_id(self) -> str:
        return str(uuid.UUID(bytes=self._entropy(16), version=4))

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
async def open_gateway(settings: Settings, clock: Clock) -> AsyncIterator[Gateway]:
    """Open everything `settings` asks for, and close it in reverse. Raises `CannotStart` with one clear line."""
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
        )
        stack.push_async_callback(telemetry.close)
        gateway = Gateway(settings, timed(stores, telemetry.metrics.store_call), telemetry, clock)
        await gateway.open(stack)
        yield gateway
