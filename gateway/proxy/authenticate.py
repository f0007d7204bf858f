"""Who sends this request: from the raw Authorization header to verified claims. In process, no store is awaited."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from gateway.clock import Clock
from gateway.errors import InvalidRequest, InvalidToken, MissingToken, TemporarilyUnavailable
from gateway.proxy.headers import RequestHead
from gateway.proxy.identity import IdentityHeaders
from gateway.proxy.route_table import AuthMode, RouteSpec
from gateway.risk.facts import RequestContext
from gateway.sessions.denied_use import DeniedUse
from gateway.sessions.revocation import STALE_AFTER
from gateway.tokens.claims import AccessClaims
from gateway.tokens.verified import VerifiedToken, VerifiedTokenCache
from gateway.web.bearer import Denies, NotesUse, Verifies, bearer_token

_QUERY_TOKEN: Final = "access_token="
_QUERY_SEPARATORS: Final = ("?", "&", ";")


class HasEpoch(Protocol):
    """The key ring, as far as it is read here: `epoch` grows with every change of keys."""

    @property
    def epoch(self) -> int:
        """Which keys are in force."""
        ...


class ProxyAuthenticator:
    """Finds the caller of a request on a route. One token is verified once and then remembered; whether it was revoked
    is asked every time.

    `staleness` is how many seconds ago the revocation feed was last read.
    """

    __slots__ = (
        "_cache",
        "_denials",
        "_denied_use",
        "_identity",
        "_now",
        "_receipts",
        "_ring",
        "_staleness",
        "_verifier",
    )

    def __init__(
        self,
        verifier: Verifies,
        ring: HasEpoch,
        cache: VerifiedTokenCache[bytes],
        denials: Denies,
        receipts: NotesUse,
        denied_use: DeniedUse,
        identity: IdentityHeaders,
        clock: Clock,
        staleness: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._verifier = verifier
        self._ring = ring
        self._cache = cache
        self._denials = denials
        self._receipts = receipts
        self._denied_use = denied_use
        self._identity = identity
        self._now = clock.now
        self._staleness = staleness

    def identify(
        self, head: RequestHead, route: RouteSpec, query: str, context: Callable[[], RequestContext]
    ) -> VerifiedToken[bytes] | None:
        """The caller, or None where the route does without. Raises what the client is answered."""
        value = head.authorization
        if isinstance(value, list):
            raise InvalidRequest("There is more than one Authorization header.")
        if route.auth is AuthMode.NONE:
            return None
        if value is None:
            return self._anonymous(route)
        now = self._now()
        entry = self._cache.get(value[7:], self._identity, now) if value[:7].lower() == b"bearer " else None
        if entry is None:
            token = bearer_token((value,))
            if token is None:
                return self._anonymous(route)
            entry = self._cache.get(token, self._identity, now) or self._verify(token)
        if query and _QUERY_TOKEN in query and any(mark + _QUERY_TOKEN in query for mark in _QUERY_SEPARATORS):
            raise InvalidRequest("The access token is in the Authorization header and in the query.")
        claims = entry.claims
        if (reason := self._denials.denial(claims)) is not None:
            self._denied_use.report(reason, claims, context())
            raise InvalidToken(debug=reason)
        if route.strict_revocation and self._staleness() > STALE_AFTER:
            raise TemporarilyUnavailable(debug="the revocation feed is stale")
        self._receipts.note(claims, route.passive)
        return entry

    def still_identifies(self, entry: VerifiedToken[bytes], route: RouteSpec, query: str) -> bool:
        """Whether `identify` would find `entry` again, for the token it found it for. False: ask `identify`."""
        if not self._cache.holds(entry, self._identity, self._now()) or (query and _QUERY_TOKEN in query):
            return False
        claims = entry.claims
        if self._denials.denial(claims) is not None:
            return False
        if route.strict_revocation and self._staleness() > STALE_AFTER:
            return False
        self._receipts.note(claims, route.passive)
        return True

    def holds(self, claims: AccessClaims) -> bool:
        """Whether a token that was good is still not revoked."""
        return self._denials.denial(claims) is None

    @staticmethod
    def _anonymous(route: RouteSpec) -> None:
        if route.auth is AuthMode.REQUIRED:
            raise MissingToken

    def _verify(self, token: bytes) -> VerifiedToken[bytes]:
        epoch = self._ring.epoch  # before the check: a key withdrawn during it must not be remembered as good
        claims = self._verifier.verify(token)
        return self._cache.put(token, self._identity, claims, self._identity.render(claims), epoch)
