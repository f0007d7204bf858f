"""A backend on a unix socket."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from support.backends import HEALTH
from support.proxying import RawUpstream, answering, field_of, get, proxied, status_of, until

from gateway.proxy.health import HealthPolicy
from gateway.proxy.route_table import RouteSpec, UpstreamSpec


@pytest.mark.parametrize(("base", "sent"), [("", b"/api/x"), (":/base", b"/base/api/x")])
@pytest.mark.parametrize(("preserve", "host"), [(True, b"gateway.test"), (False, b"localhost")])
async def test_requests_arrive_with_path_and_host(
    tmp_path: Path, base: str, sent: bytes, preserve: bool, host: bytes
) -> None:
    raw = RawUpstream(
        lambda reader, writer: answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")(raw)(reader, writer)
    )
    path = tmp_path / "app.sock"
    server = await asyncio.start_unix_server(raw.handle, path)
    route = RouteSpec("api", "/api/", (UpstreamSpec(f"unix://{path}{base}"),), preserve_host=preserve)
    async with proxied([route]) as gateway:
        answers = [await gateway.talk(get()) for _ in range(2)]
        assert raw.connections == 1
    server.close()
    await until(lambda: raw.open == 0)
    assert [status_of(answer) for answer in answers] == [200, 200]
    assert [head.split(b" ")[1] for head in raw.heads] == [sent, sent]
    assert {field_of(head, b"Host") for head in raw.heads} == {host}


async def test_a_socket_that_is_not_there_is_502(tmp_path: Path) -> None:
    route = RouteSpec("api", "/api/", (UpstreamSpec(f"unix://{tmp_path}/no.sock"),))
    async with proxied([route]) as gateway:
        answer = await gateway.talk(get())
        assert status_of(answer) == 502
        assert b"no.sock" not in answer
    [event] = gateway.notes.events
    assert "No such file" in str(event.fields["error"])


async def test_its_health_is_checked(tmp_path: Path) -> None:
    raw = RawUpstream(
        lambda reader, writer: answering(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")(raw)(reader, writer)
    )
    server = await asyncio.start_unix_server(raw.handle, tmp_path / "app.sock")
    upstreams = (UpstreamSpec(f"unix://{tmp_path}/app.sock:/base"),)
    route = RouteSpec("api", "/api/", upstreams, health=HealthPolicy(HEALTH, interval=0.01))
    async with proxied([route]) as gateway:
        await until(lambda: bool(gateway.notes.events))
        assert status_of(await gateway.talk(get())) == 503
    server.close()
    await until(lambda: raw.open == 0)
    assert raw.heads[0].startswith(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n")
