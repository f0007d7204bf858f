"""Bearer authentication (RFC 6750): from the raw Authorization values to verified claims. The one rule for it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Protocol

from gateway.errors import InvalidRequest, InvalidToken, MissingToken
from gateway.risk.facts import RequestContext
from gateway.sessions.denied_use import DeniedUse
from gateway.tokens.claims import AccessClaims

MAX_TOKEN: Final = 4096
_TOKEN: Final = re.compile(rb"[A-Za-z0-9._~+/-]+=*")


class Verifies(Protocol):
    """Checks a token's signature and claims."""

    def verify(self, token: bytes) -> AccessClaims:
        """The claims; raises `InvalidToken`, also for a token that is known but over its time."""
        ...


class Denies(Protocol):
    """Knows which tokens were revoked before their time."""

    def denial(self, claims: AccessClaims) -> str | None:
        """Why a token with these claims is refused, or None."""
        ...


class NotesUse(Protocol):
    """Takes note that a client used a token."""

    def note(self, claims: AccessClaims, passive: bool) -> None:
        """Never waits, never raises."""
        ...


class BearerAuthenticator:
    """Verifies, asks for revocation, and notes the receipt: nothing here waits for a store."""

    __slots__ = ("_denials", "_denied_use", "_receipts", "_verifier")

    def __init__(self, verifier: Verifies, denials: Denies, receipts: NotesUse, denied_use: DeniedUse) -> None:
        self._verifier = verifier
        self._denials = denials
        self._receipts = receipts
        self._denied_use = denied_use

    def require(
        self, values: Sequence[bytes], context: RequestContext | None = None, *, passive: bool = False
    ) -> AccessClaims:
        """The claims of the request's token. Raises `MissingToken`, `InvalidToken` or `InvalidRequest`.

        The client sent the token just now as its credentials: that is a receipt.
        """
        token = bearer_token(values)
        if token is None:
            raise MissingToken
        claims = self.verify(token, context)
        self._receipts.note(claims, passive)
        return claims

    def verify(self, token: bytes, context: RequestContext | None = None) -> AccessClaims:
        """The claims of `token` if it is genuine and still good, wherever it comes from. Raises `InvalidToken`."""
        if len(token) > MAX_TOKEN or _TOKEN.fullmatch(token) is None:
            raise InvalidToken(debug="malformed token")
        claims = self._verifier.verify(token)
        if (reason := self._denials.denial(claims)) is not None:
            self._denied_use.report(reason, claims, context)
            raise InvalidToken(debug=reason)
        return claims


def bearer_token(values: Sequence[bytes]) -> bytes | None:
    """The token in the raw Authorization values, well-formed but not verified; None when there is none.

    Credentials of another scheme are none: what they mean is the route's affair. Two headers are `InvalidRequest`, a
    Bearer header that cannot be a token (or is longer than any of ours) is `InvalidToken`.
    """
    if not values:
        return None
    if len(values) > 1:
        raise InvalidRequest("There is more than one Authorization header.")
    value = values[0].strip(b" \t")
    scheme = value.replace(b"\t", b" ").partition(b" ")[0]  # a tab ends it too, but no token begins with one
    if scheme.lower() != b"bearer":
        return None
    token = value[len(scheme) :].strip(b" ")
    if len(token) > MAX_TOKEN or _TOKEN.fullmatch(token) is None:
        raise InvalidToken(debug="malformed bearer credentials")
    return token
