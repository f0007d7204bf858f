"""One error tree: stable code, public detail, private debug text, status hint."""

from __future__ import annotations

from typing import ClassVar


class GatewayError(Exception):
    """Base of everything the gateway answers or exits with.

    `detail` is shown to clients and must be constant enough to leak nothing; `debug` goes to the log only.
    `retry_after` is in seconds, `headers` are more headers of the answer.
    """

    code: ClassVar[str] = "server_error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    headers: ClassVar[tuple[tuple[str, str], ...]] = ()

    def __init__(self, detail: str | None = None, *, debug: str | None = None, retry_after: int | None = None) -> None:
        super().__init__(debug or detail or self.title)
        self.detail = detail
        self.debug = debug
        self.retry_after = retry_after


class InvalidRequest(GatewayError):
    """The request cannot be understood (RFC 6749 5.2, RFC 6750 3.1)."""

    code = "invalid_request"
    status = 400
    title = "Invalid request"


class InvalidToken(GatewayError):
    """The access token is malformed, expired, revoked or not ours (RFC 6750 3.1)."""

    code = "invalid_token"
    status = 401
    title = "Invalid access token"


class MissingToken(GatewayError):
    """No credentials at all: a challenge without an error code (RFC 6750 3.1)."""

    code = "missing_token"
    status = 401
    title = "Access token required"


class InvalidCredentials(GatewayError):
    """Unknown user or wrong password: never says which."""

    code = "invalid_credentials"
    status = 401
    title = "Invalid user name or password"


class InvalidGrant(GatewayError):
    """The refresh token is missing, forged or dead (RFC 6749 5.2)."""

    code = "invalid_grant"
    status = 401
    title = "Invalid refresh token"


class RefreshTokenReused(GatewayError):
    """A spent refresh token came back: theft (RFC 9700 4.14.2)."""

    code = "refresh_token_reused"
    status = 401
    title = "Refresh token reused"


class InsufficientUserAuthentication(GatewayError):
    """The login is too old or too weak (RFC 9470)."""

    code = "insufficient_user_authentication"
    status = 401
    title = "Stronger or newer authentication required"

    def __init__(
        self,
        detail: str | None = None,
        *,
        debug: str | None = None,
        max_age: int | None = None,
        acr_values: tuple[str, ...] = (),
    ) -> None:
        super().__init__(detail, debug=debug)
        self.max_age = max_age
        self.acr_values = acr_values


class SuspiciousActivity(GatewayError):
    """A binding does not hold: proof is asked for."""

    code = "suspicious_activity"
    status = 403
    title = "Suspicious activity"


class InsufficientScope(GatewayError):
    """The user lacks every role the route asks for (RFC 6750 3.1)."""

    code = "insufficient_scope"
    status = 403
    title = "Insufficient permissions"


class CrossSiteRequest(GatewayError):
    """A state-changing call came from an origin that is not allowed."""

    code = "cross_site_request"
    status = 403
    title = "Cross-site request refused"


class NotFound(GatewayError):
    """No such resource or route."""

    code = "not_found"
    status = 404
    title = "Not found"


class MethodNotAllowed(GatewayError):
    """The resource exists, the method does not apply. `allowed` fills the Allow header."""

    code = "method_not_allowed"
    status = 405
    title = "Method not allowed"

    def __init__(self, allowed: tuple[str, ...] = (), detail: str | None = None) -> None:
        super().__init__(detail)
        self.allowed = allowed


class RequestTimeout(GatewayError):
    """The client did not send the whole request in time."""

    code = "request_timeout"
    status = 408
    title = "Request timed out"


class RefreshSuperseded(GatewayError):
    """The refresh token was replaced a moment ago: read the newest one and try again."""

    code = "refresh_superseded"
    status = 409
    title = "Refresh token superseded"


class PayloadTooLarge(GatewayError):
    """The request body is over its limit."""

    code = "payload_too_large"
    status = 413
    title = "Request body too large"


class UnsupportedMediaType(GatewayError):
    """The body's content type is not one the call takes."""

    code = "unsupported_media_type"
    status = 415
    title = "Unsupported media type"


class TooManyAttempts(GatewayError):
    """Throttled."""

    code = "too_many_attempts"
    status = 429
    title = "Too many attempts"


class BadGateway(GatewayError):
    """The upstream refused the connection or answered with something that is not HTTP."""

    code = "bad_gateway"
    status = 502
    title = "Bad gateway"


class TemporarilyUnavailable(GatewayError):
    """A store, a queue or the gateway itself cannot serve now. Logs nobody out."""

    code = "temporarily_unavailable"
    status = 503
    title = "Temporarily unavailable"


class GatewayTimeout(GatewayError):
    """The upstream did not answer in time."""

    code = "gateway_timeout"
    status = 504
    title = "Upstream timed out"


class StoreBusy(TemporarilyUnavailable):
    """Lock timeout or deadlock: the same call may succeed in a moment."""


class StoreUnavailable(TemporarilyUnavailable):
    """The store is down, full or unreadable."""


class Conflict(GatewayError):
    """What is to be created exists already (command line and admin API)."""

    code = "conflict"
    status = 409
    title = "Already exists"


class CannotStart(GatewayError):
    """The process must exit with code 3: respawning it would not help."""

    code = "cannot_start"
    title = "Cannot start"
