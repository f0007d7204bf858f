"""What is done with a header, by its name as it stands on the wire: judged once per spelling and remembered.

An action is either the bytes `Name: ` that the value is appended to, or one of the codes below.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.proxy.identity import fold

Action = bytes | int

DROP: Final = 0
HOST: Final = 1
AUTHORIZATION: Final = 2
USER_AGENT: Final = 3
COOKIE: Final = 4
CONNECTION: Final = 5
CONTENT_LENGTH: Final = 6
TRANSFER_ENCODING: Final = 7
EXPECT: Final = 8
UPGRADE: Final = 9
REQUEST_ID: Final = 10
FORWARDED_FOR: Final = 11
FORWARDED_PROTO: Final = 12
FORWARDED_HOST: Final = 13
SET_COOKIE: Final = 14
REFUSE: Final = 15
TRAILER: Final = 16

LONGEST_LENGTH: Final = 19
"""Digits of a Content-Length: more is no size, and `int` refuses thousands of them, zeros included."""

_TOKEN: Final = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_MAX_REMEMBERED: Final = 1024
_LONGEST_REMEMBERED: Final = 64
CONTROLS: Final = bytes([*range(0x09), *range(0x0A, 0x20), 0x7F])

# Written anew for a WebSocket handshake; without one they mean nothing, and one of them may hold a token.
_HANDSHAKE: Final = dict.fromkeys(
    (b"sec-websocket-key", b"sec-websocket-version", b"sec-websocket-protocol", b"sec-websocket-accept"), DROP
)
_HOP_BY_HOP: Final = dict.fromkeys(
    (b"keep-alive", b"proxy-connection", b"proxy-authorization", b"proxy-authenticate", b"te", b"trailer"), DROP
)
REQUEST_NAMES: Final[dict[bytes, int]] = {
    **_HOP_BY_HOP,
    **_HANDSHAKE,
    b"connection": CONNECTION,
    b"transfer-encoding": TRANSFER_ENCODING,
    b"content-length": CONTENT_LENGTH,
    b"upgrade": UPGRADE,
    b"http2-settings": DROP,
    b"proxy": DROP,
    b"host": HOST,
    b"authorization": AUTHORIZATION,
    b"user-agent": USER_AGENT,
    b"cookie": COOKIE,
    b"expect": EXPECT,
}
# What a proxy in front may say about the client. From anyone else it is a lie, or at best noise.
_VOUCHED: Final = frozenset(
    {
        b"forwarded",
        b"forwarded-for",
        b"x-forwarded",
        b"x-real-ip",
        b"x-client-ip",
        b"x-cluster-client-ip",
        b"true-client-ip",
        b"cf-connecting-ip",
        b"fastly-client-ip",
        b"x-rewrite-url",
        b"x-request-id",
    }
)
_VOUCHED_PREFIXES: Final = (b"x-forwarded-", b"x-original-")
TRUSTED_NAMES: Final[dict[bytes, int]] = {
    b"x-request-id": REQUEST_ID,
    b"x-forwarded-for": FORWARDED_FOR,
    b"x-forwarded-proto": FORWARDED_PROTO,
    b"x-forwarded-host": FORWARDED_HOST,
}
RESPONSE_NAMES: Final[dict[bytes, int]] = {
    **_HOP_BY_HOP,
    b"sec-websocket-accept": DROP,
    b"sec-websocket-protocol": DROP,
    b"connection": CONNECTION,
    b"transfer-encoding": TRANSFER_ENCODING,
    b"content-length": CONTENT_LENGTH,
    b"upgrade": DROP,
    b"x-request-id": DROP,
    b"set-cookie": SET_COOKIE,
    b"trailer": TRAILER,
}
# What must not stand behind a body: it frames, routes, authenticates, caches or describes it (RFC 9110 6.5.1).
TRAILER_NAMES: Final[dict[bytes, int]] = dict.fromkeys(
    (
        *RESPONSE_NAMES,
        *(b"host", b"authorization", b"cookie", b"www-authenticate", b"authentication-info", b"expect"),
        *(b"content-encoding", b"content-type", b"content-range", b"content-location", b"content-disposition"),
        *(b"content-language", b"content-security-policy", b"strict-transport-security", b"location", b"refresh"),
        *(b"cache-control", b"age", b"expires", b"date", b"vary", b"pragma", b"warning", b"retry-after", b"range"),
        *(b"clear-site-data", b"alt-svc", b"link", b"allow", b"accept-ranges", b"http2-settings"),
        *(b"access-control-allow-origin", b"access-control-allow-credentials", b"access-control-allow-headers"),
        *(b"access-control-allow-methods", b"access-control-expose-headers", b"access-control-max-age"),
    ),
    DROP,
)
# Connection may name these, but they frame or route the message: taking them out would change what it is.
NOT_NAMEABLE: Final = frozenset({b"host", b"content-length", b"transfer-encoding", b"close", b"keep-alive"})


class Actions(dict[bytes, Action]):
    """From a header name as received to what is done with it. Bounded: clients can make up names for ever."""

    __slots__ = ("_dropped", "_known", "_trusted")

    def __init__(self, known: dict[bytes, int], dropped: frozenset[bytes] = frozenset(), *, trusted: bool = True):
        super().__init__()
        self._known = known
        self._dropped = dropped
        self._trusted = trusted

    def __missing__(self, name: bytes) -> Action:
        action = self._judge(name)
        if len(name) <= _LONGEST_REMEMBERED:
            if len(self) >= _MAX_REMEMBERED:
                self.clear()
            self[name] = action
        return action

    def _judge(self, name: bytes) -> Action:
        if _TOKEN.fullmatch(name) is None:
            return REFUSE
        folded = fold(name)
        if folded in self._dropped:
            return DROP
        lower = name.lower()
        if (code := self._known.get(folded)) is not None:
            # Content_Length and the like: a backend may fold what a proxy in front of it did not act on.
            return code if lower == folded else DROP
        if not self._trusted and (folded in _VOUCHED or folded.startswith(_VOUCHED_PREFIXES)):
            return DROP
        return name + b": "
