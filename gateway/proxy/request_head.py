"""The head an upstream gets: request line, what passed, framing, who the client is, identity last."""

from __future__ import annotations

from gateway.proxy.aiohttp_private import ClientConnection
from gateway.proxy.endpoint import Endpoint
from gateway.proxy.headers import RequestHead
from gateway.proxy.route_table import AuthMode, RouteSpec
from gateway.web.client_ip import UNIX_PEER

_PROTO = {True: b"https", False: b"http"}


class HeadWriter:
    """Writes request heads. `forward_authorization`: bearer tokens go to the upstreams too."""

    __slots__ = ("_forward_authorization",)

    def __init__(self, *, forward_authorization: bool) -> None:
        self._forward_authorization = forward_authorization

    @staticmethod
    def forwarded(address: str, *, tls: bool) -> bytes:
        """The X-Forwarded lines that are the same for all requests of a connection."""
        proto = b"X-Forwarded-Proto: " + _PROTO[tls]
        if address == UNIX_PEER:
            return proto
        return b"X-Forwarded-For: " + address.encode("ascii") + b"\r\n" + proto

    def write(
        self,
        head: RequestHead,
        method: str,
        target: bytes,
        endpoint: Endpoint,
        route: RouteSpec,
        client: ClientConnection,
        request_id: str,
        identity: bytes,
    ) -> bytes:
        """The whole head; `identity` are lines ended by CRLF."""
        lines = head.lines
        host = head.host
        sent_host = host if host is not None and route.preserve_host else endpoint.host_header
        lines[0] = b"%b %b HTTP/1.1\r\nHost: %b" % (method.encode("ascii"), target, sent_host)
        if head.transfer_encoding is not None:
            lines.append(b"Transfer-Encoding: chunked")
        elif head.content_length is not None:
            lines.append(b"Content-Length: %d" % head.content_length)
        authorization = head.authorization
        if isinstance(authorization, bytes) and self._passes(authorization, head, route):
            lines.append(b"Authorization: " + authorization)
        if client.trusted:
            _append_vouched(lines, head, client)
        else:
            lines.append(client.forwarded)
            if host is not None:
                lines.append(b"X-Forwarded-Host: " + host)
        lines.append(b"X-Request-Id: %b\r\n%b\r\n" % (request_id.encode("ascii"), identity))
        return b"\r\n".join(lines)

    def _passes(self, value: bytes, head: RequestHead, route: RouteSpec) -> bool:
        """Other schemes are the backend's affair where the gateway does not insist on its own."""
        if head.connection is not None and b"authorization" in head.connection:
            return False
        if self._forward_authorization:
            return True
        return route.auth is not AuthMode.REQUIRED and value.lstrip()[:6].lower() != b"bearer"


def readdressed(head: bytes, method: str, tried: Endpoint, other: Endpoint, *, keeps_host: bool) -> bytes:
    """A head written for `tried`, for `other`: base path and Host are all that differs. `keeps_host`: it is the
    client's."""
    start = len(method) + 1
    line, _, rest = head.partition(b"\r\n")
    path = line[start + len(tried.address.base_path) :]
    line = line[:start] + other.address.base_path.encode("ascii") + path
    if not keeps_host:
        rest = b"Host: " + other.host_header + rest[rest.index(b"\r\n") :]
    return line + b"\r\n" + rest


def _append_vouched(lines: list[bytes], head: RequestHead, client: ClientConnection) -> None:
    """What a trusted proxy said stands; its own address is added to the chain."""
    hops = list(head.forwarded_for or ())
    if client.address != UNIX_PEER:
        hops.append(client.address.encode("ascii"))
    if hops:
        lines.append(b"X-Forwarded-For: " + b", ".join(hops))
    proto = head.forwarded_proto or _PROTO[client.ssl_context is not None]
    lines.append(b"X-Forwarded-Proto: " + proto)
    host = head.forwarded_host or head.host
    if host is not None:
        lines.append(b"X-Forwarded-Host: " + host)
