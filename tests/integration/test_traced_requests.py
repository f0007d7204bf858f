"""What a backend gets of a trace, and what is known of a request at its end: a proxy between raw sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from support.proxying import (
    RawUpstream,
    Script,
    Setup,
    answering,
    at_rest,
    field_of,
    fields_of,
    get,
    proxied,
    routes_to,
    status_of,
    upstream,
)
from support.websockets import handshake, switching

from gateway.proxy.header_rules import HeaderRules
from gateway.telemetry.trace_context import Sampler, Trace, parse

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"
ODD = ["nonsense", "00-0-0-00", PARENT.upper(), ""]


@pytest.fixture
def always() -> Iterator[Sampler]:
    yield Sampler(1.0)


def traces(setup: Setup) -> list[Trace | None]:
    return [fields[13] for fields in setup.notes.requests]


@pytest.mark.parametrize("value", [PARENT, *ODD])
async def test_without_tracing_what_comes_passes_on_as_it_is(value: str) -> None:
    async with upstream(answering(OK)) as up, proxied(up.port) as setup:
        answer = await setup.talk(get("/api/x", f"traceparent: {value}", f"Traceparent: {value}", "tracestate: a=1"))
        assert status_of(answer) == 200
        assert fields_of(up.heads[0], b"traceparent") == [value.encode()] * 2
        assert field_of(up.heads[0], b"tracestate") == b"a=1"
        assert traces(setup) == [None]


async def test_the_upstream_continues_the_span_of_its_leg(always: Sampler) -> None:
    async with upstream(answering(OK)) as up, proxied(up.port, sampler=always) as setup:
        await setup.talk(get("/api/x", f"traceparent: {PARENT}", "tracestate: a=1", "tracestate: b=2"))
        await at_rest(setup)
        [trace] = traces(setup)
        assert trace is not None and trace.sent is not None
        assert (trace.trace_id, trace.parent_id, trace.error, trace.resends) == (TRACE, SPAN, None, 0)
        assert field_of(up.heads[0], b"traceparent") == f"00-{TRACE}-{trace.upstream_id}-01".encode()
        assert fields_of(up.heads[0], b"tracestate") == [b"a=1", b"b=2"]


async def test_a_traceparent_named_by_connection_goes_no_further_and_is_not_continued(always: Sampler) -> None:
    async with upstream(answering(OK)) as up, proxied(up.port, sampler=always) as setup:
        await setup.talk(get("/api/x", f"traceparent: {PARENT}", "Connection: close, traceparent", close=False))
        [trace] = traces(setup)
        assert trace is not None
        assert trace.trace_id != TRACE and trace.parent_id is None
        assert TRACE.encode() not in up.heads[0]


async def test_a_stranger_cannot_have_everything_recorded() -> None:
    never = Sampler(0.0)
    async with upstream(answering(OK)) as up, proxied(up.port, sampler=never) as setup:
        await setup.talk(get("/api/x", f"traceparent: {PARENT}"))
        assert traces(setup) == [None]
        assert field_of(up.heads[0], b"traceparent") == PARENT[:-1].encode() + b"0"


async def test_a_trusted_proxy_can() -> None:
    never = Sampler(0.0)
    async with upstream(answering(OK)) as up, proxied(up.port, sampler=never, trusted=["127.0.0.1"]) as setup:
        await setup.talk(get("/api/x", f"traceparent: {PARENT}"))
        assert [trace is not None for trace in traces(setup)] == [True]


async def test_a_route_may_keep_the_trace_from_its_backend(always: Sampler) -> None:
    async with upstream(answering(OK)) as up:
        routes = routes_to(up.port, request_headers=HeaderRules({}, ("traceparent", "tracestate")))
        async with proxied(routes, sampler=always) as setup:
            await setup.talk(get("/api/x", f"traceparent: {PARENT}", "tracestate: a=1"))
            assert b"trace" not in up.heads[0].lower()


@pytest.mark.parametrize(
    ("request_", "status", "error"),
    [
        (get("/api/x", token=b"wrong"), 401, "invalid_token"),
        (get("/api/x", token=None), 401, "missing_token"),
        (get("/nowhere"), 404, "not_found"),
        (get("/api/%2e%2e/x"), 400, "invalid_request"),
    ],
)
async def test_a_refused_request_is_traced_and_goes_nowhere(
    always: Sampler, request_: bytes, status: int, error: str
) -> None:
    async with upstream(answering(OK)) as up, proxied(up.port, sampler=always) as setup:
        assert status_of(await setup.talk(request_)) == status
        [trace] = traces(setup)
        assert trace is not None
        assert (trace.sent, trace.error) == (None, error)
        assert up.heads == []


async def test_attempts_are_counted_and_share_one_span(always: Sampler) -> None:
    def closing_once(raw: RawUpstream) -> Script:
        async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await raw.head(reader)
            if raw.connections > 1:
                writer.write(OK)

        return follow

    async with upstream(closing_once) as up, proxied(routes_to(up.port, retries=1), sampler=always) as setup:
        assert status_of(await setup.talk(get("/api/x"))) == 200
        await at_rest(setup)
        [trace] = traces(setup)
        assert trace is not None
        assert (trace.resends, trace.error) == (1, None)
        sent = [field_of(head, b"traceparent") for head in up.heads]
        assert sent == [trace.line.partition(b": ")[2]] * 2


async def test_what_cannot_be_reached_is_an_error_of_its_leg(always: Sampler) -> None:
    async with upstream(answering(OK)) as up:
        gone = up.port
    async with proxied(routes_to(gone, retries=0), sampler=always) as setup:
        assert status_of(await setup.talk(get("/api/x"))) == 502
        [trace] = traces(setup)
        assert trace is not None
        assert trace.error is not None and trace.sent is not None


async def test_a_websocket_is_one_span_until_it_ends(always: Sampler) -> None:
    async def end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)

    async with upstream(switching(end)) as up, proxied(up.port, sampler=always) as setup:
        reader, writer = await asyncio.open_connection("127.0.0.1", setup.port)
        writer.write(handshake("/api/ws", f"traceparent: {PARENT}"))
        assert status_of(await reader.readuntil(b"\r\n\r\n")) == 101
        assert traces(setup) == []
        writer.close()
        await at_rest(setup)
        [trace] = traces(setup)
        assert trace is not None and trace.trace_id == TRACE
        sent: Any = parse(field_of(up.heads[0], b"traceparent") or b"")
        assert sent.span_id == trace.upstream_id and sent.sampled


async def test_what_the_own_api_answers_is_not_kept_as_under_way(always: Sampler) -> None:
    async with upstream(answering(OK)) as up, proxied(up.port, sampler=always) as setup:
        assert status_of(await setup.talk(get("/auth/unknown"))) == 404
        assert always.active == {}
