"""The proxied path in call order: route, authenticate, authorize, head, upstream. Flat, because it is the product."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from gateway.clock import Clock
from gateway.errors import (
    GatewayError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    TemporarilyUnavailable,
)
from gateway.events import Event, EventSink, Level, Name
from gateway.proxy import target as targets
from gateway.proxy.admission import Admission
from gateway.proxy.aiohttp_private import ClientConnection
from gateway.proxy.authenticate import ProxyAuthenticator
from gateway.proxy.authorize import authorize
from gateway.proxy.endpoint import Endpoint
from gateway.proxy.exchange import Exchange, problem_bytes
from gateway.proxy.headers import RequestHead, RequestRules
from gateway.proxy.identity import IdentityHeaders
from gateway.proxy.messages import HTTP_10, HTTP_11, NO_BODY, Body, Message
from gateway.proxy.own_api import rewritten
from gateway.proxy.ports import AccessLog, ClientLimits
from gateway.proxy.refusals import ExpectationFailed, HttpVersionNotSupported
from gateway.proxy.repeat import Line, Repeat, Resolved, is_plain, keeps_its_head, parse, rest_of
from gateway.proxy.request_head import HeadWriter
from gateway.proxy.request_limits import RouteLimiter
from gateway.proxy.resolver import DEFAULT_TTL
from gateway.proxy.response_head import ResponseRules
from gateway.proxy.route_table import RouteSpec, RouteTable, is_reserved
from gateway.proxy.streams import AccessUntil, OpenStreams
from gateway.proxy.tunnel import Tunnels
from gateway.proxy.upgrade import read_handshake
from gateway.proxy.upstream_events import UpstreamEvents
from gateway.proxy.upstreams import Plan, Upstreams
from gateway.proxy.websocket import Upgrading
from gateway.risk.client import client_facts
from gateway.risk.facts import RequestContext
from gateway.telemetry.trace_context import Sampler
from gateway.tokens.verified import VerifiedToken
from gateway.web.client_ip import ClientAddress
from gateway.web.request_id import RequestIds

_REMEMBERED: Final = 4096
_LONGEST_REMEMBERED: Final = 256
_REFUSED_METHODS: Final = frozenset({"CONNECT", "TRACE"})


@dataclass(frozen=True, slots=True)
class ProxyPolicy:
    """What the proxy takes from the configuration.

    `identity` is the policy of the verified-token cache too: the authenticator must be given the same instance.
    `cookies` are the full names of the gateway's own cookies; `reserved_prefix` is where its API lives.
    `dns_ttl`: seconds after which addresses of upstreams are looked up again.
    """

    routes: tuple[RouteSpec, ...]
    identity: IdentityHeaders
    cookies: tuple[bytes, ...] = ()
    forward_authorization: bool = False
    reserved_prefix: str = "/auth"
    limits: ClientLimits = field(default_factory=ClientLimits)
    dns_ttl: float = DEFAULT_TTL


class Proxy:
    """Answers what arrives at the public listener; `front.Front` brings it the connections.

    `streams.revoked` is to be subscribed to the revocation index; `access_until` is what `streams` asks at a token's
    end. `before` is the proxy of the configuration until now: what is open stays open, and `succeed` takes over.
    `sampler` decides which requests are traced; None: none.
    """

    def __init__(
        self,
        policy: ProxyPolicy,
        authenticator: ProxyAuthenticator,
        own_api: web.Application,
        access_log: AccessLog,
        events: EventSink,
        addresses: ClientAddress,
        ids: RequestIds,
        clock: Clock,
        access_until: AccessUntil | None = None,
        *,
        before: Proxy | None = None,
        sampler: Sampler | None = None,
    ) -> None:
        self.limits = policy.limits
        self.draining = False
        self._policy = policy
        self._table = RouteTable(policy.routes)
        self.now = clock.monotonic
        self.limiters = _limiters(policy.routes, clock.monotonic, before)
        self._plan: Plan | None = None
        if before is None:
            limits = policy.limits
            self.streams = OpenStreams(authenticator.holds, clock, access_until)
            self.tunnels = Tunnels()
            self.admission = Admission(limits.connections, limits.connections_per_client, events, clock.monotonic)
            self._upstreams = _upstreams(policy, UpstreamEvents(events))
        else:
            self.streams, self.tunnels, self.admission = before.streams, before.tunnels, before.admission
            self._upstreams = before._upstreams
            self._plan = before._upstreams.plan(policy.routes)
        self._rules = RequestRules(policy.identity.folded, policy.cookies)
        self._writer = HeadWriter(forward_authorization=policy.forward_authorization)
        self._authenticator = authenticator
        self._own_api = own_api
        self._log = access_log.request
        self._events = events
        self._addresses = addresses
        self._sampler = sampler
        self._new_id = ids.of
        self._fresh_id = ids.fresh
        self._monotonic = clock.monotonic
        self._resolved: dict[tuple[bytes | None, str], Resolved] = {}
        self._lines: dict[tuple[bytes | None, bytes], Line] = {}

    # -- what connections call

    def opened(self, client: ClientConnection) -> bool:
        """A client connected. False: there are too many."""
        self.recognise(client)
        if client.slot is None:
            peer = client.peername
            shared = self.shared(peer[0] if isinstance(peer, tuple) else None)
            client.slot = self.admission.enter(client.address, shared=shared)
        return client.slot is not None

    def recognise(self, client: ClientConnection) -> None:
        """Find out once what all requests of a connection share."""
        peer = client.peername
        name = peer[0] if isinstance(peer, tuple) else None
        client.address = self._addresses.resolve(name)
        client.trusted = self._addresses.is_trusted(name)
        client.forwarded = self._writer.forwarded(client.address, tls=client.ssl_context is not None)

    def closed(self, client: ClientConnection) -> None:
        """A client's connection is gone, or was never made."""
        slot, client.slot = client.slot, None
        if slot is not None:
            self.admission.leave(slot)

    def shared(self, peer: str | None) -> bool:
        """Whether many clients may come from `peer`: a proxy that is trusted, or a unix socket."""
        return not peer or self._addresses.is_trusted(peer)

    def dispatch(self, client: ClientConnection, message: Message, payload: Body) -> None:
        """Answer a request: the hot path begins here."""
        kind = Upgrading if message.upgrade else Exchange
        exchange = kind(self, client, message, payload, self._monotonic())
        try:
            self._admit(exchange, client, message, payload)
        except GatewayError as error:
            exchange.fail(error)
        except Exception as error:  # noqa: BLE001 - the last line: it is reported, and answered as a problem
            self._report(exchange, error)
            exchange.fail(GatewayError())

    def repeat(self, client: ClientConnection, repeat: Repeat, line: bytes) -> bool:
        """Answer a request whose header block is known, if all of it is as usual: what `dispatch` does, shorter."""
        known = self._lines.get((repeat.host, line)) or self._known_line(repeat.host, line)
        route = repeat.route
        if known is None or known.route is not route or self.draining:
            return False
        entry = repeat.entry
        if entry is not None and not self._authenticator.still_identifies(entry, route, known.query):
            return False
        client.begun()
        exchange = Exchange(self, client, known.message, NO_BODY, self._monotonic())
        exchange.route = route
        exchange.path = known.resolved.path
        exchange.address = repeat.address
        exchange.user_agent = repeat.user_agent
        exchange.request_id = request_id = self._fresh_id()
        identity = b""
        if entry is not None:
            exchange.claims = entry.claims
            identity = entry.rendered
        try:
            if route.limits is not None:
                self.limiters[route.name].admit(exchange)
            endpoint = self._upstreams.choose(route, exchange.started)
            target = known.resolved.sent.get(endpoint) if not known.query else None
            if target is None:
                target = self._target(known.resolved, endpoint, route, known.query)
            exchange.forward(
                endpoint,
                route,
                b"%b %b%b%b\r\n%b\r\n" % (known.method, target, repeat.rest, request_id.encode("ascii"), identity),
            )
        except GatewayError as error:
            exchange.fail(error)
        except Exception as error:  # noqa: BLE001 - as in `dispatch`
            self._report(exchange, error)
            exchange.fail(GatewayError())
        return True

    def refuse(self, client: ClientConnection, error: GatewayError) -> None:
        """Answer bytes that are no request."""
        request_id = self._fresh_id()
        client.write(problem_bytes(error, request_id, keep_alive=False))
        self._log("", "", error.status, None, None, 0.0, 0, 0, request_id, None, None, client.address)
        client.done(keep_alive=False)

    def new_request_id(self) -> str:
        """For a request whose head could not be read."""
        return self._fresh_id()

    def finished(self, exchange: Exchange) -> None:
        """A request was answered, or will never be: one line in the access log."""
        claims = exchange.claims
        route = exchange.route
        if route is not None and route.limits is not None:
            self.limiters[route.name].leave(exchange)
        self._log(
            exchange.message.method,
            exchange.path or exchange.message.path,
            exchange.status,
            route.name if route is not None else None,
            exchange.upstream_url,
            self._monotonic() - exchange.started,
            exchange.request_size,
            exchange.response_size,
            exchange.request_id,
            claims.subject if claims is not None else None,
            claims.session_id if claims is not None else None,
            exchange.address,
            exchange.user_agent,
            exchange.trace,
        )

    def another_endpoint(self, route: RouteSpec, tried: Endpoint) -> Endpoint | None:
        """An endpoint for what failed at `tried`, None when there is no other."""
        return self._upstreams.another(route, tried, self.now())

    def start(self) -> None:
        """Begin the health checks of the upstreams."""
        self._upstreams.start()

    def succeed(self, before: Proxy) -> None:
        """Take over from the proxy that was given as `before`: no request comes to it any more. Backends that stay keep
        their connections and their health.
        """
        plan, self._plan = self._plan, None
        if plan is None or before._upstreams is not self._upstreams:
            raise ValueError("made to succeed another proxy, or none")
        self.draining = before.draining
        same = _response_side(before._policy) == _response_side(self._policy)
        self._upstreams.replace(plan, None if same else ResponseRules(*_response_side(self._policy)))

    def close(self) -> None:
        """End the health checks and close the connections to the upstreams."""
        self.streams.close()
        self.tunnels.abort()
        self._upstreams.close()

    @property
    def open_upstream_connections(self) -> int:
        """How many connections to upstreams stand."""
        return self._upstreams.open_connections + len(self.tunnels)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The backends that routes go to."""
        return self._upstreams.endpoints

    # -- the request's way

    def _admit(self, exchange: Exchange, client: ClientConnection, message: Message, payload: Body) -> None:
        version = message.version
        if version is not HTTP_11:
            _check_old(message)
        trusted = client.trusted
        head = self._rules.scan(message.raw_headers, trusted=trusted)
        exchange.request_id = self._new_id(head.request_ids or (), trusted=trusted)
        exchange.user_agent = head.user_agent
        if self._sampler is not None:
            exchange.trace = self._sampler.begin(head.lines, exchange.request_id, trusted=trusted)
        if trusted and head.forwarded_for is not None:
            exchange.address = self._addresses.resolve(client.address, head.forwarded_for)
        if message.method in _REFUSED_METHODS or message.path == "*":
            raise MethodNotAllowed
        path, mark, query = message.path.partition("?")
        query = mark + query
        if "#" in query:
            raise InvalidRequest("The request target has a fragment.")
        resolved = self._resolved.get((head.host, path)) or self._resolve(head.host, path)
        exchange.path = resolved.path
        if self.draining:
            raise TemporarilyUnavailable("The gateway is shutting down.", retry_after=1)
        if resolved.reserved:
            if self._sampler is not None:
                self._sampler.forget(exchange.request_id)  # the own API decides for itself
            self._hand_over(client, message, payload, resolved.path + query)
            return
        route = self._route(resolved, message.method)
        exchange.route = route
        if head.upgrade is not None:
            entry = self._admit_upgrade(exchange, head, route, query)
        else:
            entry = self._identify(exchange, head, route, query)
        if route.limits is not None:
            self.limiters[route.name].admit(exchange)
        self._pass_on(exchange, head, route, resolved, query, entry)

    def _pass_on(
        self,
        exchange: Exchange,
        head: RequestHead,
        route: RouteSpec,
        resolved: Resolved,
        query: str,
        entry: VerifiedToken[bytes] | None,
    ) -> None:
        """Choose where an admitted request goes, and send it there."""
        message, client = exchange.message, exchange.client
        exchange.chunked = message.chunked
        if head.content_length is not None and head.content_length > route.body_limit:
            raise PayloadTooLarge
        endpoint = self._upstreams.choose(route, exchange.started)
        target = self._target(resolved, endpoint, route, query)
        if head.expect is not None:
            exchange.expects_continue = _expects_continue(head, message)
        if route.request_headers is not None:
            route.request_headers.apply(head.lines)
        identity = entry.rendered if entry is not None else b""
        written = self._writer.write(
            head, message.method, target, endpoint, route, client, exchange.request_id, identity
        )
        if self._sampler is not None:  # lots are drawn for each request, on the long way
            if exchange.trace is not None:
                exchange.trace.sent = self._monotonic() - exchange.started
        elif client.repeats and is_plain(message, head) and keeps_its_head(route, head):
            rest = rest_of(written, message.method, target, exchange.request_id, identity)
            client.repeat = Repeat(client.block, rest, route, entry, head, exchange.address)
        exchange.forward(endpoint, route, written)

    @staticmethod
    def _target(resolved: Resolved, endpoint: Endpoint, route: RouteSpec, query: str) -> bytes:
        """The target that `endpoint` gets."""
        target = resolved.sent.get(endpoint)
        if target is None:
            target = (endpoint.address.base_path + route.sent_path(resolved.path)).encode("ascii")
            resolved.sent[endpoint] = target
        return target + query.encode("utf-8", "surrogateescape") if query else target

    def _known_line(self, host: bytes | None, line: bytes) -> Line | None:
        """What a request line means with this Host, if it is as plain as most."""
        parts = parse(line)
        if parts is None:
            return None
        method, path, query = parts
        try:
            resolved = self._resolved.get((host, path)) or self._resolve(host, path)
            if resolved.reserved:
                return None
            route = self._route(resolved, method)
        except GatewayError:
            return None
        known = Line(method, query, resolved, route, host)
        if len(line) <= _LONGEST_REMEMBERED:
            if len(self._lines) >= _REMEMBERED:
                self._lines.clear()
            self._lines[host, line] = known
        return known

    def _admit_upgrade(
        self, exchange: Exchange, head: RequestHead, route: RouteSpec, query: str
    ) -> VerifiedToken[bytes] | None:
        """`_identify` for a request that may be a WebSocket handshake, with the token where browsers have to put it."""
        handshake = read_handshake(head, exchange.message, exchange.payload, route.auth)
        if handshake is None or not isinstance(exchange, Upgrading):
            return self._identify(exchange, head, route, query)
        exchange.handshake = handshake
        entry = self._identify(exchange, head, route, query)
        if handshake.bearer is not None:
            head.authorization = None  # of the token that came among the subprotocols nothing goes further
        return entry

    def _resolve(self, raw_host: bytes | None, raw_path: str) -> Resolved:
        found = targets.split(raw_path)
        if found.authority is not None:
            targets.check_authority(found.authority, raw_host)
        host = targets.host_name(raw_host) if raw_host is not None else None
        path, encoded_slash = targets.normalise(found.path)
        reserved = is_reserved(path, self._policy.reserved_prefix)
        group = None if reserved else self._table.find(host, path)
        resolved = Resolved(path, group, reserved=reserved, encoded_slash=encoded_slash)
        if len(raw_path) <= _LONGEST_REMEMBERED:
            if len(self._resolved) >= _REMEMBERED:
                self._resolved.clear()
            self._resolved[raw_host, raw_path] = resolved
        return resolved

    def _hand_over(self, client: ClientConnection, message: Message, payload: Body, target: str) -> None:
        if target != message.path:
            message = rewritten(message, target)
        client.serve_application(self._own_api, message, payload)

    @staticmethod
    def _route(resolved: Resolved, method: str) -> RouteSpec:
        group = resolved.group
        if group is None:
            if resolved.encoded_slash:
                raise InvalidRequest("The path has an encoded slash.")
            raise NotFound
        route = group.select(method)
        if resolved.encoded_slash and not route.allow_encoded_slash:
            raise InvalidRequest("The path has an encoded slash.")
        return route

    def _identify(
        self, exchange: Exchange, head: RequestHead, route: RouteSpec, query: str
    ) -> VerifiedToken[bytes] | None:
        """Who asks; None: nobody, where that will do. Whatever goes wrong, the request does not reach the backend."""
        try:
            entry = self._authenticator.identify(head, route, query, lambda: _context(exchange))
            claims = exchange.claims = entry.claims if entry is not None else None
            authorize(route, claims)
        except GatewayError:
            raise
        except Exception as error:
            self._report(exchange, error)
            raise TemporarilyUnavailable from error
        return entry

    def _report(self, exchange: Exchange, error: Exception) -> None:
        """Type and place, never the message: it may hold what must not be logged."""
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        place = f"{trace.tb_frame.f_code.co_qualname}:{trace.tb_lineno}" if trace is not None else ""
        fields = {"exception.type": type(error).__qualname__, "exception.stacktrace": place}
        self._events.emit(
            Event(Name.REQUEST_FAILED, Level.ERROR, exchange.request_id, address=exchange.address, fields=fields)
        )


def _response_side(policy: ProxyPolicy) -> tuple[tuple[bytes, ...], frozenset[bytes]]:
    """What `ResponseRules` are made of."""
    return policy.cookies, frozenset(policy.identity.folded)


def _upstreams(policy: ProxyPolicy, told: UpstreamEvents) -> Upstreams:
    rules = ResponseRules(*_response_side(policy))
    return Upstreams(policy.routes, rules, changed=told.changed, tls_failed=told.tls_failed, dns_ttl=policy.dns_ttl)


def _limiters(
    routes: Iterable[RouteSpec], monotonic: Callable[[], float], before: Proxy | None
) -> dict[str, RouteLimiter]:
    """Those of the proxy before where nothing has changed; the others begin to count anew."""
    known = before.limiters if before is not None else {}
    found = {}
    for route in routes:
        if route.limits is not None:
            limiter = known.get(route.name)
            same = limiter is not None and limiter.limits == route.limits
            found[route.name] = limiter if limiter is not None and same else RouteLimiter(route.limits, monotonic)
    return found


def _check_old(message: Message) -> None:
    if message.version is not HTTP_10:
        raise HttpVersionNotSupported
    if message.chunked:
        raise InvalidRequest("A transfer coding needs HTTP/1.1.")


def _expects_continue(head: RequestHead, message: Message) -> bool:
    """Whether the client waits for 100 Continue. Raises `ExpectationFailed`."""
    if message.version is not HTTP_11:  # HTTP/1.0 has no interim answers (RFC 9110 10.1.1)
        head.lines[1:] = [line for line in head.lines[1:] if not line.startswith(b"Expect: ")]
        return False
    if head.expect is None or head.expect.strip().lower() != b"100-continue":
        raise ExpectationFailed
    return True


def _context(exchange: Exchange) -> RequestContext:
    agent = exchange.user_agent.decode("utf-8", "replace")
    return RequestContext(exchange.request_id, client_facts(exchange.address, agent), exchange.started)
