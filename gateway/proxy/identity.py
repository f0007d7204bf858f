"""Identity headers: which names belong to the gateway, and the lines it writes from a verified token."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

from gateway.errors import GatewayError
from gateway.tokens.claims import AccessClaims

_FOLDED: Final = re.compile(rb"[^a-z0-9]")
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f]")

_READERS: Final[dict[str, Callable[[AccessClaims], str | None]]] = {
    "sub": lambda claims: claims.subject,
    "username": lambda claims: claims.username,
    "email": lambda claims: claims.email,
    "roles": lambda claims: ",".join(claims.roles),
    "sid": lambda claims: claims.session_id,
}


def fold(name: bytes) -> bytes:
    """How the laxest backend may read a header name: lower case, `-` for all that is not a letter or digit."""
    return _FOLDED.sub(b"-", name.lower())


class IdentityHeaders:
    """The configured pairs of (header name, claim). One instance is one policy of the verified-token cache."""

    __slots__ = ("_pairs", "folded")

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._pairs = tuple((name, _READERS[claim]) for name, claim in pairs)
        self.folded = frozenset(fold(name.encode("ascii")) for name, _ in self._pairs)
        if len(self.folded) != len(self._pairs):
            raise ValueError("two identity headers have the same folded name")

    def render(self, claims: AccessClaims) -> bytes:
        """The header lines for `claims`, each ended by CRLF. An absent or empty value has no line.

        Values are checked when they are stored; one that still cannot be a header fails the request.
        """
        lines = []
        for name, read in self._pairs:
            value = read(claims)
            if not value:
                continue
            if _UNSAFE.search(value):
                raise GatewayError(debug=f"the {name} of user {claims.subject} cannot be a header")
            lines.append(f"{name}: {value}\r\n")
        return "".join(lines).encode("utf-8")
