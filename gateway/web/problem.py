"""The one table from errors to answers: status, headers and the RFC 9457 body. Pure; every HTTP face uses it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import orjson

from gateway.errors import (
    GatewayError,
    InsufficientScope,
    InsufficientUserAuthentication,
    InvalidToken,
    MethodNotAllowed,
    TemporarilyUnavailable,
    TooManyAttempts,
)
from gateway.tokens.access_token import INVALID_DETAIL

REALM: Final = "gateway"
MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:gateway:problem:"
RETRY_AFTER: Final = 1  # seconds, where the error does not say

# What a client is told when the raise site has nothing better. Constant, so that it leaks nothing.
_DETAILS: Final[dict[str, str]] = {
    "server_error": "The gateway failed to answer. The request id helps its operator to find out why.",
    "invalid_request": "The request cannot be understood.",
    "invalid_token": INVALID_DETAIL,
    "missing_token": "This call needs an access token in the Authorization header.",
    "invalid_credentials": "The user name or the password is wrong.",
    "invalid_grant": "The refresh token is missing, expired, revoked or not one of ours. Log in again.",
    "refresh_token_reused": "This refresh token was used before. The sessions concerned were ended. Log in again.",
    "insufficient_user_authentication": "The login is too old or too weak for this. Log in again.",
    "suspicious_activity": "The client is not the one that logged in. Log in again.",
    "insufficient_scope": "The user has none of the roles this needs.",
    "cross_site_request": "The call came from an origin that is not allowed.",
    "not_found": "There is nothing here.",
    "method_not_allowed": "The method does not apply here; Allow names those that do.",
    "request_timeout": "The request body did not arrive in time.",
    "refresh_superseded": "A newer refresh token was handed out a moment ago. Use that one.",
    "payload_too_large": "The request body is larger than allowed.",
    "unsupported_media_type": "The content type of the body is not one this call takes.",
    "too_many_attempts": "Too many attempts. Retry-After says when to try again.",
    "bad_gateway": "The upstream could not be reached or gave no valid answer.",
    "temporarily_unavailable": "The service cannot answer right now. Try again in a moment.",
    "gateway_timeout": "The upstream did not answer in time.",
    "conflict": "It exists already.",
}


@dataclass(frozen=True, slots=True)
class Rendered:
    """An answer ready to be written. `headers` lack Content-Length and whatever belongs to the connection."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def render(error: GatewayError, request_id: str) -> Rendered:
    """The answer to `error`: problem+json with its challenge, Retry-After and Allow."""
    detail = detail_of(error)
    body = orjson.dumps(
        {
            "type": TYPE_PREFIX + error.code,
            "title": error.title,
            "status": error.status,
            "detail": detail,
            "error": error.code,
            "request_id": request_id,
        }
    )
    headers = [("Content-Type", MEDIA_TYPE), ("Cache-Control", "no-store"), ("X-Request-Id", request_id)]
    if (challenge := _challenge(error, detail)) is not None:
        headers.append(("WWW-Authenticate", challenge))
    if (seconds := _retry_after(error)) is not None:
        headers.append(("Retry-After", str(seconds)))
    if isinstance(error, MethodNotAllowed):
        headers.append(("Allow", ", ".join(error.allowed)))
    return Rendered(error.status, (*headers, *error.headers), body)


def detail_of(error: GatewayError) -> str:
    """The sentence a client is shown; an error the table does not know speaks with its title."""
    return error.detail or _DETAILS.get(error.code, error.title)


def _challenge(error: GatewayError, detail: str) -> str | None:
    """RFC 6750 3 and RFC 9470 3. A 401 always carries a challenge (RFC 9110 15.5.2), with an error code only where
    an access token was presented and found wanting."""
    if not isinstance(error, InvalidToken | InsufficientScope | InsufficientUserAuthentication):
        return f'Bearer realm="{REALM}"' if error.status == 401 else None
    parts = [f'Bearer realm="{REALM}"', f'error="{error.code}"']
    if _quotable(detail):
        parts.append(f'error_description="{detail}"')
    if isinstance(error, InsufficientUserAuthentication):
        if error.max_age is not None:
            parts.append(f'max_age="{error.max_age}"')
        if error.acr_values:
            parts.append(f'acr_values="{" ".join(error.acr_values)}"')
    return ", ".join(parts)


def _quotable(text: str) -> bool:
    """RFC 6750 3: printable ASCII without the quote and the backslash."""
    return all(" " <= char <= "~" and char not in '"\\' for char in text)


def _retry_after(error: GatewayError) -> int | None:
    if error.retry_after is not None:
        return max(error.retry_after, 0)
    return RETRY_AFTER if isinstance(error, TooManyAttempts | TemporarilyUnavailable) else None
