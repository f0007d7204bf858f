"""What the gateway shows to clients under one configuration, and what outlives a change of it.

A reload makes new faces beside the old ones and then changes over; requests under way keep the faces they came through.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from gateway import policies
from gateway.admin_api.services import AdminServices
from gateway.auth_api.app import build_api
from gateway.auth_api.services import ApiLimits, ApiServices
from gateway.clock import Clock
from gateway.credentials.authenticator import Authenticator
from gateway.credentials.hasher import PasswordHasher
from gateway.credentials.passwords import PasswordPolicy
from gateway.credentials.users import UserService
from gateway.limits import Limits
from gateway.proxy.authenticate import ProxyAuthenticator
from gateway.proxy.entropy import PooledEntropy
from gateway.proxy.forward import Proxy, ProxyPolicy
from gateway.proxy.identity import IdentityHeaders
from gateway.sessions.denied_use import DeniedUse
from gateway.sessions.receipts import ReceiptQueue
from gateway.sessions.revocation import RevocationFollower, RevocationIndex
from gateway.sessions.service import SessionService
from gateway.settings.model import Settings
from gateway.stores.bundle import Stores
from gateway.telemetry.history import EventHistory
from gateway.telemetry.logging import Telemetry
from gateway.tokens.access_token import AccessTokenIssuer, AccessTokenVerifier
from gateway.tokens.jwks import jwks_document
from gateway.tokens.key_service import KeyService
from gateway.tokens.refresh_token import RefreshTokens
from gateway.tokens.verified import VerifiedTokenCache
from gateway.web.bearer import BearerAuthenticator
from gateway.web.client_ip import ClientAddress
from gateway.web.context import RequestContexts
from gateway.web.csrf import CrossSitePolicy
from gateway.web.request_id import RequestIds
from gateway.web.tracing import ApiTracing

VERIFIED_TOKENS: Final = 20_000
"""Access tokens a worker remembers as verified, about 1 KB each."""


@dataclass(frozen=True, slots=True)
class Core:
    """What a reload leaves as it is: stores, keys, what is known to be revoked, who owes how many failed log-ins."""

    stores: Stores
    telemetry: Telemetry
    clock: Clock
    index: RevocationIndex
    receipts: ReceiptQueue
    follower: RevocationFollower
    hasher: PasswordHasher
    keys: KeyService
    refresh_tokens: RefreshTokens
    verifier: AccessTokenVerifier
    issuer: AccessTokenIssuer
    cache: VerifiedTokenCache[bytes]
    denied_use: DeniedUse  # one for both faces: it tells once per token
    limits: Limits
    entropy: PooledEntropy = field(default_factory=PooledEntropy)

    def new_id(self) -> str:
        """A new session id."""
        return str(uuid.UUID(bytes=self.entropy(16), version=4))


@dataclass(frozen=True, slots=True)
class Faces:
    """The own API and the proxy under `settings`, and the services behind them."""

    settings: Settings
    identity: IdentityHeaders
    users: UserService
    sessions: SessionService
    api: web.AppRunner
    proxy: Proxy
    admin: AdminServices


async def build_faces(core: Core, settings: Settings, before: Faces | None = None) -> Faces:
    """Faces for `settings`; nothing changes for anybody yet. Identity headers that stay keep the verified tokens."""
    addresses, ids = ClientAddress(settings.server.trusted_proxies), RequestIds(core.entropy)
    policy = PasswordPolicy(min_length=settings.passwords.min_length)
    users = UserService(core.stores.users, core.hasher, core.clock, policy=policy)
    sessions = _sessions(core, settings)
    prefix = settings.sessions.binding.ip_prefix
    contexts = RequestContexts(addresses, ids, core.clock, v4=prefix.v4, v6=prefix.v6)
    api = build_api(_services(core, settings, users, sessions, contexts, addresses))
    runner = web.AppRunner(api, access_log=None, handle_signals=False)
    await runner.setup()
    if before is not None and list(before.settings.identity.headers.items()) == list(settings.identity.headers.items()):
        identity = before.identity
    else:
        identity = IdentityHeaders(policies.identity_headers(settings))
    authenticator = _authenticator(core, identity)
    log, events = core.telemetry.access, core.telemetry.events
    until, known = sessions.access_until, before.proxy if before is not None else None
    proxy = Proxy(
        _policy(settings, identity), authenticator, api, log, events, addresses, ids, core.clock, until, before=known,
        sampler=core.telemetry.sampler,
    )  # fmt: skip
    admin = _admin(core, settings, users, sessions, contexts)
    return Faces(settings, identity, users, sessions, runner, proxy, admin)


def _admin(
    core: Core, settings: Settings, users: UserService, sessions: SessionService, contexts: RequestContexts
) -> AdminServices:
    history, events = EventHistory(core.stores.events), core.telemetry.events
    return AdminServices(settings.server.admin_token, sessions, users, core.keys, history, contexts, events)


def _sessions(core: Core, settings: Settings) -> SessionService:
    return SessionService(
        core.stores.sessions,
        core.refresh_tokens,
        core.issuer,
        core.index,
        core.receipts,
        core.telemetry.events,
        core.clock,
        policies.rotation_policy(settings),
        retention=settings.sessions.retention,
        new_id=core.new_id,
    )


def _services(
    core: Core,
    settings: Settings,
    users: UserService,
    sessions: SessionService,
    contexts: RequestContexts,
    addresses: ClientAddress,
) -> ApiServices:
    return ApiServices(
        sessions=sessions,
        users=users,
        authenticator=Authenticator(core.stores.users, core.hasher, core.telemetry.events),
        throttle=core.limits.logins,
        refresh_throttle=core.limits.refreshes,
        bearer=BearerAuthenticator(core.verifier, core.index, core.receipts, core.denied_use),
        jwks=lambda: jwks_document(core.keys.ring),
        contexts=contexts,
        origins=CrossSitePolicy(settings.server.public_url, settings.auth.allowed_origins),
        cookie=policies.cookie_policy(settings),
        clock=core.clock,
        events=core.telemetry.events,
        tracing=_api_tracing(core, addresses),
        limits=ApiLimits(body_tokens=settings.auth.body_tokens, in_flight_window=settings.sessions.in_flight_window),
        prefix=settings.auth.prefix,
        public_url=settings.server.public_url,
    )


def _api_tracing(core: Core, addresses: ClientAddress) -> ApiTracing | None:
    sampler, spans = core.telemetry.sampler, core.telemetry.spans
    return ApiTracing(sampler, spans, addresses, core.clock) if sampler is not None and spans is not None else None


def _authenticator(core: Core, identity: IdentityHeaders) -> ProxyAuthenticator:
    return ProxyAuthenticator(
        core.verifier,
        core.keys.ring,
        core.cache,
        core.index,
        core.receipts,
        core.denied_use,
        identity,
        core.clock,
        core.follower.staleness,
    )


def _policy(settings: Settings, identity: IdentityHeaders) -> ProxyPolicy:
    return ProxyPolicy(
        policies.route_specs(settings),
        identity,
        cookies=(policies.cookie_policy(settings).raw_name,),
        forward_authorization=settings.identity.forward_authorization,
        reserved_prefix=settings.auth.prefix,
        dns_ttl=settings.server.dns_ttl,
        limits=policies.client_limits(settings),
    )
