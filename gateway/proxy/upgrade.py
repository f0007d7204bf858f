"""The WebSocket handshake (RFC 6455 4): what a client must send, what goes upstream, and which answer is one.

Every other protocol a client would change to is ignored, as RFC 9110 7.8 allows.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Final

from gateway.errors import BadGateway, InvalidRequest
from gateway.proxy.headers import RawHeaders, RequestHead
from gateway.proxy.messages import HTTP_11, Body, Message
from gateway.proxy.refusals import UpgradeRequired
from gateway.proxy.response_head import ResponseHead
from gateway.proxy.route_table import AuthMode

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{21}[AQgw]==")  # the base64 of 16 bytes
_TOKEN: Final = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_JWT: Final = re.compile(rb"eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_BEARER: Final = b"bearer"
_MOST_SUBPROTOCOLS: Final = 64


class Handshake:
    """A WebSocket handshake that keeps the rules. `subprotocols` are those the upstream is offered; `bearer` is what
    the client called the one its token came with, None when it came with none."""

    __slots__ = ("bearer", "key", "subprotocols")

    def __init__(self, key: bytes, subprotocols: list[bytes], bearer: bytes | None) -> None:
        self.key = key
        self.subprotocols = subprotocols
        self.bearer = bearer

    def answer(self, head: ResponseHead, headers: RawHeaders) -> bytes:
        """The head of the 101 for the client, from the upstream's, still open. Raises `BadGateway` for one that does
        not answer this handshake."""
        if head.chunked or head.length:
            raise BadGateway(debug="the upstream switched protocols with a body")
        if [value.strip().lower() for value in _values(headers, b"upgrade")] != [b"websocket"]:
            raise BadGateway(debug="the upstream switched to another protocol")
        if b"upgrade" not in b",".join(_values(headers, b"connection")).lower().replace(b" ", b"").split(b","):
            raise BadGateway(debug="the upstream switched protocols without Connection: upgrade")
        accept = accept_value(self.key)
        if _values(headers, b"sec-websocket-accept") != [accept]:
            raise BadGateway(debug="the upstream's Sec-WebSocket-Accept is wrong")
        lines = [head.head + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: " + accept]
        if (chosen := self._chosen(_values(headers, b"sec-websocket-protocol"))) is not None:
            lines.append(b"Sec-WebSocket-Protocol: " + chosen)
        return b"\r\n".join(lines) + b"\r\n"

    def _chosen(self, values: list[bytes]) -> bytes | None:
        if not values:
            return self.bearer
        if len(values) > 1 or values[0] not in self.subprotocols:
            raise BadGateway(debug="the upstream chose a subprotocol that it was not offered")
        return values[0]


def read_handshake(head: RequestHead, message: Message, payload: Body, auth: AuthMode) -> Handshake | None:
    """The handshake in a request with an Upgrade header; None for an Upgrade that is ignored.

    A token among the subprotocols becomes the request's Authorization, for the one authentication there is; only
    `Handshake.bearer` tells afterwards where it came from. What the upstream needs is added to `head`. A cookie that
    authenticates would be checked against Origin where this is called: no route takes one yet.
    Raises `InvalidRequest` and `UpgradeRequired`.
    """
    protocols = [part.strip().lower() for part in (head.upgrade or b"").split(b",")]
    if b"websocket" not in protocols:
        return None
    if message.chunked or head.content_length or not payload.is_eof():
        raise InvalidRequest("A WebSocket handshake has no body.")
    if message.method != "GET" or message.version is not HTTP_11:
        raise InvalidRequest("A WebSocket handshake is a GET over HTTP/1.1.")
    if b"upgrade" not in (head.connection or ()):
        return None
    if len(protocols) > 1 or not message.upgrade:
        raise InvalidRequest("A WebSocket handshake asks for one protocol.")
    headers = message.raw_headers
    if _values(headers, b"sec-websocket-version") != [b"13"]:
        raise UpgradeRequired
    keys = _values(headers, b"sec-websocket-key")
    if len(keys) != 1 or _KEY.fullmatch(keys[0]) is None:
        raise InvalidRequest("The Sec-WebSocket-Key is not one base64 value of 16 bytes.")
    subprotocols = _subprotocols(_values(headers, b"sec-websocket-protocol"))
    handshake = Handshake(keys[0], subprotocols, _take_token(head, subprotocols, auth))
    _add_lines(head, handshake)
    return handshake


def accept_value(key: bytes) -> bytes:
    """The Sec-WebSocket-Accept that answers `key` (RFC 6455 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def _values(headers: RawHeaders, name: bytes) -> list[bytes]:
    return [value for key, value in headers if key.lower() == name]


def _subprotocols(values: list[bytes]) -> list[bytes]:
    if not values:
        return []
    offered = [part.strip(b" \t") for part in b",".join(values).split(b",")]
    if len(offered) > _MOST_SUBPROTOCOLS or len(set(offered)) < len(offered):
        raise InvalidRequest("There are too many subprotocols, or one of them twice.")
    if any(_TOKEN.fullmatch(name) is None for name in offered):
        raise InvalidRequest("A subprotocol is not a token.")
    return offered


def _take_token(head: RequestHead, offered: list[bytes], auth: AuthMode) -> bytes | None:
    """Take `bearer` and the token behind it out of what was offered. Where tokens are not read, a subprotocol may be
    called that, and only what looks like a token is kept from the upstream."""
    at = next((at for at, name in enumerate(offered) if name.lower() == _BEARER), None)
    if at is None or at + 1 == len(offered):
        return None
    bearer, token = offered[at : at + 2]
    if auth is not AuthMode.NONE:
        if head.authorization is not None:
            raise InvalidRequest("The access token is in the Authorization header and among the subprotocols.")
        head.authorization = b"Bearer " + token
    elif _JWT.fullmatch(token) is None:
        return None
    del offered[at : at + 2]
    return bearer


def _add_lines(head: RequestHead, handshake: Handshake) -> None:
    """Hop-by-hop headers are for each hop to write, after those of the hop before are gone."""
    head.content_length = None
    head.lines += (
        b"Connection: Upgrade",
        b"Upgrade: websocket",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: " + handshake.key,
    )
    if handshake.subprotocols:
        head.lines.append(b"Sec-WebSocket-Protocol: " + b", ".join(handshake.subprotocols))
