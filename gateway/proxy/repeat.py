"""Requests whose header block came before on the same connection, byte for byte: browsers and API clients send the same
lines with every request, so what they mean is worked out once (docs/decisions/0014).

Nothing is decided here that the long way would decide differently: a block is only known after the long way took it
twice, and whoever finds anything unusual sends the request the long way.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from gateway.proxy.messages import HTTP_11

if TYPE_CHECKING:
    from gateway.proxy.endpoint import Endpoint
    from gateway.proxy.headers import RequestHead
    from gateway.proxy.messages import Message
    from gateway.proxy.route_table import RouteGroup, RouteSpec
    from gateway.tokens.verified import VerifiedToken

# Stricter than the parser: what it takes beside this takes the long way.
_LINE: Final = re.compile(rb"(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) (/[!\x22\x24-\x7e]*) HTTP/1\.1")


class Resolved:
    """What a path and a host mean, remembered: everything about a target but its query and the method."""

    __slots__ = ("encoded_slash", "group", "path", "reserved", "sent")

    def __init__(self, path: str, group: RouteGroup | None, *, reserved: bool, encoded_slash: bool) -> None:
        self.path = path
        self.group = group
        self.reserved = reserved
        self.encoded_slash = encoded_slash
        self.sent: dict[Endpoint, bytes] = {}


class PlainMessage:
    """A request without a body that keeps its connection open, as far as anybody asks after its headers are read."""

    __slots__ = ("method", "path", "raw_headers")

    version = HTTP_11
    should_close = False
    upgrade = False
    chunked = False

    def __init__(self, method: str, path: str, raw_headers: tuple[tuple[bytes, bytes], ...]) -> None:
        self.method = method
        self.path = path
        self.raw_headers = raw_headers


class Line:
    """A request line and what it means with one Host."""

    __slots__ = ("message", "method", "query", "resolved", "route")

    def __init__(self, method: str, query: str, resolved: Resolved, route: RouteSpec, host: bytes | None) -> None:
        self.method = method.encode("ascii")
        self.query = query
        self.resolved = resolved
        self.route = route
        fields = () if host is None else ((b"Host", host),)
        self.message: Message = PlainMessage(method, resolved.path + query, fields)  # type: ignore[assignment]


class Repeat:
    """What a header block means on one route: `rest` is the head for the upstream from behind the target up to the
    request id, without identity, which is looked up every time.
    """

    __slots__ = ("address", "block", "entry", "host", "rest", "route", "user_agent")

    def __init__(
        self,
        block: bytes,
        rest: bytes,
        route: RouteSpec,
        entry: VerifiedToken[bytes] | None,
        head: RequestHead,
        address: str,
    ) -> None:
        self.block = block
        self.rest = rest
        self.route = route
        self.entry = entry
        self.host = head.host
        self.user_agent = head.user_agent
        self.address = address


def is_plain(message: Message, head: RequestHead) -> bool:
    """Whether nothing but the request line can make the next request with this block mean something else: no body, no
    change of protocol, nothing for this connection, and no id of its own. Bodies that came are the caller's to know.
    """
    return (
        message.version is HTTP_11
        and not (message.should_close or message.upgrade or message.chunked)
        and head.content_length is None
        and head.transfer_encoding is None
        and head.expect is None
        and head.upgrade is None
        and head.request_ids is None
        and not isinstance(head.authorization, list)
    )


def keeps_its_head(route: RouteSpec, head: RequestHead) -> bool:
    """Whether the head is the same for whichever of the route's endpoints is chosen."""
    return len(route.upstreams) == 1 or (route.preserve_host and head.host is not None)


def rest_of(written: bytes, method: str, target: bytes, request_id: str, identity: bytes) -> bytes:
    """What `Repeat.rest` is, from a head that `HeadWriter` wrote."""
    start = len(method) + 1 + len(target)
    end = len(written) - len(b"\r\n\r\n") - len(identity) - len(request_id)
    return written[start:end]


def parse(line: bytes) -> tuple[str, str, str] | None:
    """Method, path and query (with its `?`, or empty) of a plain request line."""
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    path, mark, query = found[2].decode("ascii").partition("?")
    return found[1].decode("ascii"), path, mark + query
