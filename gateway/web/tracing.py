"""A span for each sampled request to the gateway's own API, with the calls to the store made for it."""

from __future__ import annotations

from typing import Protocol

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from gateway.clock import Clock
from gateway.telemetry.trace_context import CURRENT, Sampler, Trace
from gateway.web.client_ip import ClientAddress
from gateway.web.context import CONTEXT, RequestContexts


class SpanSink(Protocol):
    """Takes what has ended; `telemetry.tracing` is the real one."""

    def answered(
        self, trace: Trace, method: str, path: str, route: str | None, status: int, start: float, end: float,
        address: str | None, agent: str | None,
    ) -> None:  # fmt: skip
        """A request was answered. `route` is the pattern of its path, times are epoch seconds."""
        ...


class ApiTracing:
    """Traces requests that an ordinary aiohttp application answers."""

    def __init__(self, sampler: Sampler, spans: SpanSink, addresses: ClientAddress, clock: Clock) -> None:
        self._sampler = sampler
        self._spans = spans
        self._addresses = addresses
        self._clock = clock

    def middleware(self, contexts: RequestContexts) -> Middleware:
        """To be the outermost; `contexts` makes the request's context, as the one within would."""

        @web.middleware
        async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
            context = request[CONTEXT] = contexts.of(request)
            lines = [b"", *(name + b": " + value for name, value in request.raw_headers)]
            trusted = self._addresses.is_trusted(request.remote)
            trace = self._sampler.begin(lines, context.request_id, trusted=trusted)
            if trace is None:
                return await handler(request)
            start, status = self._clock.now(), 499
            token = CURRENT.set(trace)
            try:
                response = await handler(request)
                status = response.status
                return response
            finally:
                CURRENT.reset(token)
                self._sampler.forget(context.request_id)
                resource = request.match_info.route.resource
                facts = context.facts
                self._spans.answered(
                    trace, request.method, request.rel_url.raw_path, resource.canonical if resource else None, status,
                    start, self._clock.now(), facts.address, facts.user_agent,
                )  # fmt: skip

        return middleware
