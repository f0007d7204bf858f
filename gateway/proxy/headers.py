"""The request's headers: what is dropped, what is read here, what passes as bytes, and the head an upstream gets."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.errors import InvalidRequest
from gateway.proxy.header_actions import (
    AUTHORIZATION,
    CONNECTION,
    CONTENT_LENGTH,
    COOKIE,
    DROP,
    EXPECT,
    FORWARDED_FOR,
    FORWARDED_HOST,
    FORWARDED_PROTO,
    HOST,
    LONGEST_LENGTH,
    NOT_NAMEABLE,
    REFUSE,
    REQUEST_ID,
    REQUEST_NAMES,
    TRANSFER_ENCODING,
    TRUSTED_NAMES,
    UPGRADE,
    USER_AGENT,
    Actions,
)
from gateway.proxy.identity import fold
from gateway.web.cookies import without_cookies

RawHeaders = Iterable[tuple[bytes, bytes]]


class RequestHead:
    """A request head after one pass over its headers. `lines` are those that pass; index 0 is for the request line."""

    __slots__ = (
        "authorization",
        "connection",
        "content_length",
        "expect",
        "forwarded_for",
        "forwarded_host",
        "forwarded_proto",
        "host",
        "lines",
        "request_ids",
        "transfer_encoding",
        "upgrade",
        "user_agent",
    )

    def __init__(self) -> None:
        self.lines: list[bytes] = [b""]
        self.host: bytes | None = None
        self.user_agent = b""
        self.authorization: bytes | list[bytes] | None = None
        self.content_length: int | None = None
        self.transfer_encoding: bytes | None = None
        self.connection: list[bytes] | None = None
        self.upgrade: bytes | None = None
        self.expect: bytes | None = None
        self.request_ids: list[bytes] | None = None
        self.forwarded_for: list[bytes] | None = None
        self.forwarded_proto: bytes | None = None
        self.forwarded_host: bytes | None = None


class RequestRules:
    """The rules for requests, compiled: `identity` are folded names, `cookies` the gateway's own cookie names."""

    __slots__ = ("_cookies", "_cores", "_trusted", "_untrusted")

    def __init__(self, identity: frozenset[bytes], cookies: tuple[bytes, ...] = ()) -> None:
        self._untrusted = Actions(REQUEST_NAMES, identity, trusted=False)
        self._trusted = Actions({**REQUEST_NAMES, **TRUSTED_NAMES}, identity)
        self._cookies = cookies
        self._cores = tuple(name.lower() for name in cookies)

    def scan(self, headers: RawHeaders, *, trusted: bool) -> RequestHead:
        """One pass over the headers a client sent. Raises `InvalidRequest`."""
        actions = self._trusted if trusted else self._untrusted
        head = RequestHead()
        add = head.lines.append
        for name, value in headers:
            action = actions[name]
            if action.__class__ is bytes:
                add(action + value)
            elif action == HOST:
                if head.host is not None:
                    raise InvalidRequest("There is more than one Host header.")
                head.host = value
            elif action == AUTHORIZATION:
                seen = head.authorization
                head.authorization = value if seen is None else [seen, value] if isinstance(seen, bytes) else seen
            elif action == USER_AGENT:
                head.user_agent = value
                add(b"User-Agent: " + value)
            elif action != DROP:
                self._read(head, action, value)  # type: ignore[arg-type]
        if head.connection is not None:
            _drop_named(head, head.connection)
        return head

    def _read(self, head: RequestHead, action: int, value: bytes) -> None:
        if action == COOKIE:
            if kept := self._own_cookies_removed(value):
                head.lines.append(b"Cookie: " + kept)
        elif action == CONNECTION:
            head.connection = (head.connection or []) + _tokens(value)
        elif action == CONTENT_LENGTH:
            self._read_length(head, value)
        elif action == TRANSFER_ENCODING:
            if head.transfer_encoding is not None or value.strip(b" \t").lower() != b"chunked":
                raise InvalidRequest("The transfer coding is not chunked.")
            head.transfer_encoding = value
        elif action == EXPECT:
            head.expect = value if head.expect is None else head.expect + b"," + value
            head.lines.append(b"Expect: " + value)
        elif action == UPGRADE:
            head.upgrade = value if head.upgrade is None else head.upgrade + b"," + value
        else:
            _read_vouched(head, action, value)

    @staticmethod
    def _read_length(head: RequestHead, value: bytes) -> None:
        if head.content_length is not None or not value.isdigit() or len(value) > LONGEST_LENGTH:
            raise InvalidRequest("The Content-Length is not one number.")
        head.content_length = int(value)

    def _own_cookies_removed(self, value: bytes) -> bytes:
        if value.isascii():
            lower = value.lower()
            for core in self._cores:
                if core in lower:
                    break
            else:
                return value
        return without_cookies(value, self._cookies)


def _read_vouched(head: RequestHead, action: int, value: bytes) -> None:
    if action == REQUEST_ID:
        head.request_ids = [*(head.request_ids or ()), value]
    elif action == FORWARDED_FOR:
        head.forwarded_for = [*(head.forwarded_for or ()), value]
    elif action == FORWARDED_PROTO:
        head.forwarded_proto = value
    elif action == FORWARDED_HOST:
        head.forwarded_host = value
    elif action == REFUSE:
        raise InvalidRequest("A header name is not a token.")


def _tokens(value: bytes) -> list[bytes]:
    return [token for part in value.lower().split(b",") if (token := part.strip(b" \t"))]


def _drop_named(head: RequestHead, connection: list[bytes]) -> None:
    """Headers named by Connection go no further (RFC 9110 7.6.1), under any spelling."""
    named = {fold(token) for token in connection if token not in NOT_NAMEABLE}
    if not named:
        return
    head.lines[1:] = [line for line in head.lines[1:] if fold(line.partition(b":")[0]) not in named]
