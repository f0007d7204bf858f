"""From Settings to what the layers below understand: the domain never sees a configuration file."""

from __future__ import annotations

from gateway.proxy.breaker import BreakerPolicy
from gateway.proxy.header_rules import HeaderRules
from gateway.proxy.health import HealthPolicy
from gateway.proxy.ports import ClientLimits
from gateway.proxy.request_limits import RequestLimits
from gateway.proxy.route_table import AuthMode, RouteSpec, UpstreamSpec
from gateway.proxy.upstream_tls import UpstreamTls
from gateway.sessions.policy import RotationPolicy
from gateway.settings.model import Rate, RevocationMode, Route, Settings
from gateway.settings.route import HeaderChanges
from gateway.settings.types import split_pairs
from gateway.telemetry.ports import SpanPolicy
from gateway.throttle.gcra import Limit
from gateway.throttle.policy import ThrottlePolicy
from gateway.web.cookies import CookiePolicy


def rotation_policy(settings: Settings) -> RotationPolicy:
    """The rules of rotation."""
    sessions = settings.sessions
    return RotationPolicy(
        idle_ttl=sessions.idle_ttl,
        absolute_ttl=sessions.absolute_ttl,
        in_flight_window=sessions.in_flight_window,
        late_window=sessions.late_window,
        receipt_after=sessions.receipt_after,
        access_ttl=settings.tokens.access_ttl,
        on_reuse=sessions.on_reuse,
        device_binding=sessions.binding.device,
        ip_binding=sessions.binding.ip,
        reauth_after=sessions.reauth_after,
        max_per_user=sessions.max_per_user,
    )


def throttle_policy(settings: Settings) -> ThrottlePolicy:
    """Limits on failed log-ins."""
    throttle = settings.throttle
    return ThrottlePolicy(
        enabled=throttle.enabled,
        pair=_limit(throttle.pair),
        network=_limit(throttle.network),
        account=_limit(throttle.account),
        count_under_attack=throttle.pair_under_attack,
        forged_refresh=_limit(throttle.forged_refresh),
        longest_wait=throttle.longest_wait,
    )


def cookie_policy(settings: Settings) -> CookiePolicy:
    """How the refresh cookie is written."""
    cookie = settings.auth.cookie
    return CookiePolicy(cookie.name, cookie.secure, cookie.same_site.value, cookie.domain)


def route_specs(settings: Settings) -> tuple[RouteSpec, ...]:
    """The routes of the data plane."""
    return tuple(_route(route) for route in settings.routes)


def identity_headers(settings: Settings) -> tuple[tuple[str, str], ...]:
    """(header, claim) pairs that upstreams are told."""
    return tuple((header, claim.value) for header, claim in settings.identity.headers.items())


def _health(route: Route) -> HealthPolicy | None:
    health = route.health
    if health.path is None:
        return None
    return HealthPolicy(
        path=health.path,
        interval=health.interval,
        timeout=health.timeout,
        healthy_after=health.healthy_after,
        unhealthy_after=health.unhealthy_after,
        expect=frozenset(health.expect),
    )


def _breaker(route: Route) -> BreakerPolicy | None:
    breaker = route.breaker
    if breaker is None:
        return None
    return BreakerPolicy(
        failures=breaker.failures,
        open_for=breaker.open_for,
        longest=breaker.longest,
        statuses=frozenset(breaker.statuses),
        last=breaker.last,
    )


def _limit(rate: Rate) -> Limit:
    return Limit(rate.attempts, rate.per)


def _route(route: Route) -> RouteSpec:
    return RouteSpec(
        name=route.name,
        host=route.match.host,
        path=route.match.path,
        methods=route.match.methods,
        upstreams=tuple(UpstreamSpec(upstream.url, upstream.weight) for upstream in route.upstream),
        strip_prefix=route.strip_prefix,
        preserve_host=route.preserve_host,
        auth=AuthMode(route.auth.value),
        roles=frozenset(route.require.roles),
        mfa=route.require.mfa,
        strict_revocation=route.revocation is RevocationMode.STRICT,
        passive=route.passive,
        allow_encoded_slash=route.allow_encoded_slash,
        connect_timeout=route.timeouts.connect,
        response_timeout=route.timeouts.response,
        idle_timeout=route.timeouts.idle,
        body_limit=route.limits.body,
        retries=route.retries,
        total_timeout=route.timeouts.total,
        response_limit=route.limits.response_body,
        request_headers=_header_rules(route.request_headers),
        response_headers=_header_rules(route.response_headers),
        tls=UpstreamTls(**route.upstream_tls.model_dump()),
        health=_health(route),
        breaker=_breaker(route),
        limits=_request_limits(route),
    )


def _request_limits(route: Route) -> RequestLimits | None:
    limits, rate = route.limits, route.limits.rate
    if rate is None and not limits.concurrency and not limits.concurrency_per_client:
        return None
    return RequestLimits(
        Limit(rate.requests, rate.per) if rate is not None else None, limits.concurrency, limits.concurrency_per_client
    )


def client_limits(settings: Settings) -> ClientLimits:
    """What a client may take."""
    limits = settings.server.limits
    return ClientLimits(
        keep_alive=limits.keep_alive,
        head=limits.header_time,
        stall=limits.stall,
        fields=limits.headers,
        head_size=limits.header_bytes,
        body_rate=limits.body_rate,
        body_window=limits.body_window,
        connections=limits.connections,
        connections_per_client=limits.connections_per_client,
    )


def span_policy(settings: Settings) -> SpanPolicy | None:
    """Where spans go; None: nowhere."""
    tracing = settings.tracing
    if tracing.endpoint is None:
        return None
    headers = split_pairs(tracing.headers) if tracing.headers is not None else ()
    return SpanPolicy(tracing.endpoint, tracing.sample_ratio, tracing.service_name, headers, tracing.timeout)


def _header_rules(changes: HeaderChanges) -> HeaderRules | None:
    return HeaderRules(changes.set, changes.remove) if changes.set or changes.remove else None
