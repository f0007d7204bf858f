"""Requests to change the protocol: only WebSocket ones mean anything here, everything else is served as it is."""

from __future__ import annotations

from gateway.errors import InvalidRequest
from gateway.proxy.aiohttp_private import Body, Message
from gateway.proxy.headers import RequestHead
from gateway.proxy.refusals import UpgradeNotSupported


def check_upgrade(head: RequestHead, message: Message, payload: Body) -> None:
    """Raise for a WebSocket handshake; return for an Upgrade that a server may ignore (RFC 9110 7.8)."""
    protocols = {part.strip().lower() for part in (head.upgrade or b"").split(b",")}
    if b"websocket" not in protocols:
        return
    if message.chunked or head.content_length or not payload.is_eof():
        raise InvalidRequest("A WebSocket handshake has no body.")
    if message.method != "GET" or message.version != (1, 1):
        raise InvalidRequest("A WebSocket handshake is a GET over HTTP/1.1.")
    if b"upgrade" in (head.connection or ()):
        raise UpgradeNotSupported("WebSocket connections are not served here.")
