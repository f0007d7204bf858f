"""Endpoints, whose turn it is, and what an upstream URL may be."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.proxy import endpoint as module
from gateway.proxy.endpoint import Endpoint, parse_url
from gateway.proxy.response_head import ResponseRules
from gateway.proxy.route_table import RouteSpec, UpstreamSpec
from gateway.proxy.upstream import UpstreamConnection
from gateway.proxy.upstreams import Upstreams


def test_parse_url() -> None:
    assert parse_url("http://h") == ("h", 80, False, "h", "", None)
    assert parse_url("https://h:8443/base/") == ("h", 8443, True, "h:8443", "/base", None)
    assert parse_url("http://[::1]:1") == ("::1", 1, False, "[::1]:1", "", None)
    assert parse_url("unix:///run/a.sock") == ("localhost", 0, False, "localhost", "", "/run/a.sock")
    assert parse_url("unix:///run/a.sock:/base/") == ("localhost", 0, False, "localhost", "/base", "/run/a.sock")


@pytest.mark.parametrize(
    "url",
    [
        "h:80",
        "ftp://h",
        "http://",
        "http://u@h",
        "http://u:p@h",
        "http://h/?q",
        "http://h/#f",
        "http://h:x",
        "unix:run/a",
        "unix://a",
        "unix:///",
        "unix:///a:b",
    ],
)
def test_parse_url_refuses(url: str) -> None:
    with pytest.raises(ValueError):
        parse_url(url)


def test_routes_share_endpoints() -> None:
    both = (UpstreamSpec("http://a"), UpstreamSpec("http://b"))
    one, two = RouteSpec("one", "/", both), RouteSpec("two", "/2/", both[:1])
    upstreams = Upstreams([one, two], ResponseRules())
    assert [upstreams.choose(one, 0.0).url for _ in range(4)] == ["http://a", "http://b"] * 2
    assert upstreams.choose(two, 0.0) is upstreams.choose(one, 0.0)
    assert upstreams.open_connections == 0
    upstreams.close()


class Transport:
    """Keeps what is done to it."""

    def __init__(self) -> None:
        self.closed = False
        self.written: list[bytes] = []
        self.paused = 0

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.closed = True

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def pause_reading(self) -> None:
        self.paused += 1

    def resume_reading(self) -> None:
        self.paused -= 1


async def connection_to(endpoint: Endpoint, *, used_at: float = 0.0) -> tuple[UpstreamConnection, Any]:
    import asyncio

    connection, transport = UpstreamConnection(endpoint, asyncio.get_running_loop()), Transport()
    connection.connection_made(transport)  # type: ignore[arg-type]
    connection.used_at = used_at
    return connection, transport


async def test_the_last_used_connection_comes_first_and_closed_ones_never() -> None:
    endpoint = Endpoint("http://a", ResponseRules())
    pairs = [await connection_to(endpoint, used_at=float(n)) for n in range(3)]
    for connection, _ in pairs:
        endpoint.release(connection)
    pairs[2][1].closed = True
    assert endpoint.take(10.0, repeatable=True) is pairs[1][0]
    assert endpoint.take(10.0, repeatable=False) is None
    assert endpoint.take(0.5, repeatable=False) is pairs[0][0]
    assert endpoint.take(10.0, repeatable=True) is None
    endpoint.release(pairs[0][0])
    assert endpoint.open_connections == 3
    pairs[0][0].connection_lost(None)
    assert endpoint.take(10.0, repeatable=True) is None
    assert endpoint.open_connections == 2
    endpoint.close()
    assert all(transport.closed for _, transport in pairs[1:])


async def test_idle_connections_are_not_hoarded_and_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_IDLE", 1)
    endpoint = Endpoint("http://a", ResponseRules())
    first, kept = await connection_to(endpoint)
    second, surplus = await connection_to(endpoint)
    endpoint.release(first)
    endpoint.release(second)
    assert (kept.closed, surplus.closed) == (False, True)
    first._expired()
    assert kept.closed


async def test_pausing_twice_is_pausing_once_and_closed_transports_are_left_alone() -> None:
    endpoint = Endpoint("http://a", ResponseRules())
    connection, transport = await connection_to(endpoint)
    connection.resume()
    connection.pause()
    connection.pause()
    assert transport.paused == 1
    connection.resume()
    assert transport.paused == 0
    transport.closed = True
    connection.pause()
    connection.write(b"late")
    assert (transport.paused, transport.written) == (0, [])
