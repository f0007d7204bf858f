"""Active health checks: each endpoint is asked for a path, again and again, without anybody's credentials."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.errors import BadGateway, GatewayError

if TYPE_CHECKING:
    from gateway.proxy.endpoint import Endpoint
    from gateway.proxy.headers import RawHeaders
    from gateway.proxy.response_head import ResponseHead
    from gateway.proxy.upstream import UpstreamConnection

_SPREAD: Final = 0.2
"""How far an interval may differ from the configured one, up and down: workers and endpoints do not ask in step."""


@dataclass(frozen=True, slots=True)
class HealthPolicy:
    """What is asked for and what the answers mean. Seconds; `expect` empty: any status from 200 to 399."""

    path: str
    interval: float = 10.0
    timeout: float = 5.0
    healthy_after: int = 2
    unhealthy_after: int = 3
    expect: frozenset[int] = frozenset()

    def accepts(self, status: int) -> bool:
        """Whether an answer means that the endpoint is well."""
        return status in self.expect if self.expect else 200 <= status < 400


class HealthRecord:
    """A pure state machine: the first result counts at once, changes take several in a row."""

    __slots__ = ("_known", "_policy", "_streak", "healthy")

    def __init__(self, policy: HealthPolicy) -> None:
        self._policy = policy
        self._streak = 0
        self._known = False
        self.healthy = True

    def record(self, well: bool) -> bool:
        """Take a result; whether the endpoint's health has changed by it."""
        if well is self.healthy:
            self._streak = 0
            self._known = True
            return False
        self._streak += 1
        needed = self._policy.healthy_after if well else self._policy.unhealthy_after
        if self._known and self._streak < needed:
            return False
        self._known = True
        self._streak = 0
        self.healthy = well
        return True


async def check(endpoint: Endpoint, policy: HealthPolicy) -> str | None:
    """Ask once, over a connection of its own; None when the answer is as expected, otherwise what is wrong."""
    answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    head = b"GET %b HTTP/1.1\r\nHost: %b\r\nUser-Agent: gateway-health\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    try:
        async with asyncio.timeout(policy.timeout):
            connection = await endpoint.connect(policy.timeout)
            leg = _Answer(connection, answer)
            try:
                request = head % (policy.path.encode("ascii"), endpoint.host_header)
                connection.send(leg, request, head_only=False, whole=True, timeout=policy.timeout * 2)
                status = await answer
            finally:
                if connection.serves(leg):
                    connection.discard()
    except TimeoutError:
        return f"no answer to the health check within {policy.timeout:g} s"
    except GatewayError as error:
        return error.debug or error.title
    return None if policy.accepts(status) else f"the health check was answered {status}"


async def watch(
    endpoint: Endpoint,
    policy: HealthPolicy,
    changed: Callable[[bool, str | None], None],
    choose: Callable[[], float] = random.random,
) -> None:
    """Check for ever; `changed` is told every change. `choose` gives numbers from 0 to 1."""
    record = HealthRecord(policy)
    while True:
        problem = await check(endpoint, policy)
        if record.record(problem is None):
            changed(record.healthy, problem)
        await asyncio.sleep(policy.interval * (1 + _SPREAD * (2 * choose() - 1)))


class _Answer:
    """The leg of a check: the status is all that matters."""

    __slots__ = ("_connection", "_future")

    def __init__(self, connection: UpstreamConnection, future: asyncio.Future[int]) -> None:
        self._connection = connection
        self._future = future

    def body_came(self) -> None:
        """There is no body."""

    def informed(self) -> None:
        """Not asked for."""

    def hinted(self, head: bytes) -> None:
        """Not looked at."""

    def switched(self, connection: UpstreamConnection, head: ResponseHead, fields: RawHeaders, rest: bytes) -> None:
        """Not asked for."""
        raise BadGateway(debug="the upstream switched protocols unasked")

    def responded(self, status: int, head: ResponseHead, body: bytes, *, done: bool, bodyless: bool) -> None:
        """The answer. The connection may have been kept already: it goes now, before a request takes it."""
        self._connection.discard()
        if not self._future.done():
            self._future.set_result(status)

    def received(self, data: bytes, *, done: bool) -> None:
        """Not looked at."""

    def failed(self, error: GatewayError, *, retry: bool) -> None:
        """No answer."""
        if not self._future.done():
            self._future.set_exception(error)

    def expired(self) -> None:
        """No answer in time."""
        self.failed(BadGateway(debug="no answer to the health check"), retry=False)
