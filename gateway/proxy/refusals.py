"""What only the data plane refuses: errors that no other part of the gateway raises."""

from __future__ import annotations

from gateway.errors import GatewayError


class HeadTooLarge(GatewayError):
    """The request head is over its limit (RFC 6585 5)."""

    code = "invalid_request"
    status = 431
    title = "Request head too large"


class TargetTooLong(GatewayError):
    """The request target is over its limit."""

    code = "invalid_request"
    status = 414
    title = "Request target too long"


class HttpVersionNotSupported(GatewayError):
    """Not HTTP/1.0 and not HTTP/1.1 (RFC 9110 15.6.6)."""

    code = "invalid_request"
    status = 505
    title = "HTTP version not supported"


class ExpectationFailed(GatewayError):
    """The request expects something other than 100-continue (RFC 9110 10.1.1)."""

    code = "invalid_request"
    status = 417
    title = "Expectation failed"


class UpgradeRequired(GatewayError):
    """Another version of WebSocket than the only one there is (RFC 6455 4.4)."""

    code = "invalid_request"
    status = 426
    title = "WebSocket version not supported"
    headers = (("Sec-WebSocket-Version", "13"),)


class TooManyRequests(GatewayError):
    """A client asks more often, or for more at once, than its route allows (RFC 6585 4)."""

    code = "too_many_requests"
    status = 429
    title = "Too many requests"
