"""An upstream's connection remembers the last head: the same bytes mean the same, others are read anew."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.errors import BadGateway
from gateway.proxy.response_head import ResponseHead, ResponseRules
from gateway.proxy.upstream import UpstreamConnection

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-User-Id: 7\r\nX-Kept: 1\r\n\r\n"


class Counting(ResponseRules):
    """Counts how often a head was read."""

    def __init__(self, identity: frozenset[bytes] = frozenset()) -> None:
        super().__init__((), identity)
        self.reads = 0

    def read(self, data: bytes) -> ResponseHead:
        self.reads += 1
        return super().read(data)


class Endpoint:
    def __init__(self) -> None:
        self.rules = Counting()


@pytest.fixture
async def endpoint() -> Endpoint:
    return Endpoint()


def connection(endpoint: Any) -> UpstreamConnection:
    return UpstreamConnection(endpoint, asyncio.get_event_loop())


async def test_the_same_head_is_read_once(endpoint: Endpoint) -> None:
    upstream = connection(endpoint)
    first = upstream._head_of(HEAD)
    assert upstream._head_of(bytes(bytearray(HEAD))) is first
    assert (endpoint.rules.reads, first.length) == (1, 2)


async def test_another_head_is_read_anew(endpoint: Endpoint) -> None:
    upstream = connection(endpoint)
    upstream._head_of(HEAD)
    other = upstream._head_of(HEAD.replace(b"Length: 2", b"Length: 3"))
    assert (other.length, endpoint.rules.reads) == (3, 2)
    with pytest.raises(BadGateway):
        upstream._head_of(HEAD.replace(b"\r\n\r\n", b"\r\nContent-Length: 2\r\n\r\n"))


async def test_a_bad_head_is_never_remembered(endpoint: Endpoint) -> None:
    upstream = connection(endpoint)
    for _ in range(2):
        with pytest.raises(BadGateway):
            upstream._head_of(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n")


async def test_other_rules_read_it_anew(endpoint: Endpoint) -> None:
    upstream = connection(endpoint)
    assert b"X-User-Id" in upstream._head_of(HEAD).head
    endpoint.rules = Counting(frozenset({b"x-user-id"}))
    assert b"X-User-Id" not in upstream._head_of(HEAD).head


async def test_a_long_head_is_not_kept(endpoint: Endpoint) -> None:
    upstream = connection(endpoint)
    long = HEAD[:-2] + b"X-Long: " + b"a" * 2000 + b"\r\n\r\n"
    upstream._head_of(long)
    upstream._head_of(long)
    assert endpoint.rules.reads == 2
