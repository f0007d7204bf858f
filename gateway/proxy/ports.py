"""Between a client's connection and whoever answers its requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from gateway.errors import GatewayError

if TYPE_CHECKING:
    from gateway.proxy.aiohttp_private import ClientConnection
    from gateway.proxy.messages import Body, Message
    from gateway.proxy.repeat import Repeat
    from gateway.telemetry.trace_context import Trace


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """What a client may take. Seconds and bytes.

    `keep_alive`: idle between requests. `head`: from the first byte of a request head to its last. `stall`: without
    reading anything of what was written. `linger`: reading on after an answer that came before the request's end.
    `own_body`: for the whole body of a request to the gateway's own API. `body_rate`: the fewest bytes per second of a
    body, on average over each `body_window` in which the gateway could read; 0: no limit. `connections` and
    `connections_per_client`: the most there may be; 0: no limit.
    """

    keep_alive: float = 75.0
    head: float = 15.0
    stall: float = 60.0
    linger: float = 5.0
    own_body: float = 30.0
    line_size: int = 8190
    field_size: int = 8190
    fields: int = 128
    head_size: int = 64 * 1024
    body_rate: int = 500
    body_window: float = 20.0
    connections: int = 0
    connections_per_client: int = 0


class Exchange(Protocol):
    """A proxied request under way, as the client's connection sees it."""

    payload: Body

    def body_came(self) -> None:
        """More of the request body is here, or its end, or what was wrong with it."""
        ...

    def client_paused(self) -> None:
        """The client is slow to read."""
        ...

    def client_resumed(self) -> None:
        """The client has read."""
        ...

    def client_lost(self) -> None:
        """The client is gone."""
        ...


class Dispatcher(Protocol):
    """Who answers the requests of a connection."""

    limits: ClientLimits

    def opened(self, client: ClientConnection) -> bool:
        """A client connected; False where the connection must be closed at once."""
        ...

    def recognise(self, client: ClientConnection) -> None:
        """Find out again what all requests of a connection that stands share."""
        ...

    def closed(self, client: ClientConnection) -> None:
        """A client's connection is gone; may be told twice."""
        ...

    def dispatch(self, client: ClientConnection, message: Message, payload: Body) -> None:
        """Answer a request, now or later; `client.done` ends it."""
        ...

    def repeat(self, client: ClientConnection, repeat: Repeat, line: bytes) -> bool:
        """Answer a request with this request line and a header block that is known. False: nothing was done, and
        `dispatch` must."""
        ...

    def refuse(self, client: ClientConnection, error: GatewayError) -> None:
        """Answer what is no request; the connection closes after it."""
        ...


class AccessLog(Protocol):
    """Takes one line per proxied request; `telemetry.access_log` is the real one."""

    def request(
        self,
        method: str,
        path: str | bytes,
        status: int,
        route: str | None,
        upstream: str | None,
        duration: float,
        request_size: int,
        response_size: int,
        request_id: str | None,
        user_id: str | None = None,
        session_id: str | None = None,
        address: str | None = None,
        user_agent: str | bytes | None = None,
        trace: Trace | None = None,
    ) -> None:
        """A request was answered. `duration` in seconds, sizes of the bodies in bytes."""
        ...
