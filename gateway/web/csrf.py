"""Which pages may make a browser call the gateway: Origin, Sec-Fetch-Site and the CORS answers that go with them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import urlsplit

from gateway.errors import CrossSiteRequest

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_SAME_SITE: Final = frozenset({b"same-origin", b"none"})
_PREFLIGHT_AGE: Final = "600"
_ALLOWED_HEADERS: Final = "Authorization, Content-Type"
_EXPOSED_HEADERS: Final = "Retry-After, WWW-Authenticate, X-Request-Id"


def origin_of(url: str) -> str:
    """The origin of a URL as browsers write it: lower case, no default port. ValueError when it has none."""
    parts = urlsplit(url)
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise ValueError(f"{url!r} has no http or https origin")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = parts.port
    return f"{parts.scheme}://{host}" + (f":{port}" if port not in (None, _DEFAULT_PORTS[parts.scheme]) else "")


class CrossSitePolicy:
    """The own origin (from the public URL, never from Host, which anybody can send) and the allowed ones."""

    __slots__ = ("_allowed", "_own")

    def __init__(self, public_url: str, allowed_origins: Iterable[str] = ()) -> None:
        self._own = origin_of(public_url).encode("ascii")
        self._allowed = frozenset(origin_of(origin).encode("ascii") for origin in allowed_origins)

    def check(self, origin: Sequence[bytes], fetch_site: Sequence[bytes]) -> None:
        """Raise `CrossSiteRequest` unless a state-changing call with these raw headers may pass.

        Without Origin the browser's Sec-Fetch-Site decides; what sends neither is no browser (curl, servers, phones).
        """
        if origin:
            if len(origin) == 1 and (origin[0] == self._own or origin[0] in self._allowed):
                return
            raise CrossSiteRequest(debug="foreign Origin")
        if fetch_site and not (len(fetch_site) == 1 and fetch_site[0] in _SAME_SITE):
            raise CrossSiteRequest(debug="foreign Sec-Fetch-Site")

    def cors_headers(self, origin: Sequence[bytes]) -> tuple[tuple[str, str], ...]:
        """What lets a page of an allowed origin read the answer; Vary alone for everyone else's."""
        if not self._allowed:
            return ()
        if len(origin) != 1 or origin[0] not in self._allowed:
            return (("Vary", "Origin"),)
        return (
            ("Access-Control-Allow-Origin", origin[0].decode("ascii")),
            ("Access-Control-Allow-Credentials", "true"),
            ("Access-Control-Expose-Headers", _EXPOSED_HEADERS),
            ("Vary", "Origin"),
        )

    def preflight_headers(self, origin: Sequence[bytes], methods: Iterable[str]) -> tuple[tuple[str, str], ...]:
        """The answer to a CORS preflight. Raises `CrossSiteRequest` for an origin that is not allowed."""
        if len(origin) != 1 or (origin[0] not in self._allowed and origin[0] != self._own):
            raise CrossSiteRequest(debug="preflight of a foreign Origin")
        return (
            ("Access-Control-Allow-Origin", origin[0].decode("ascii")),
            ("Access-Control-Allow-Credentials", "true"),
            ("Access-Control-Allow-Methods", ", ".join(methods)),
            ("Access-Control-Allow-Headers", _ALLOWED_HEADERS),
            ("Access-Control-Max-Age", _PREFLIGHT_AGE),
            ("Vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
        )
