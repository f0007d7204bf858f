"""Cookies read from the bytes of the header and written by one builder.

No cookie parser of a framework is used: they decode, unquote and trim names in ways that let `\\u2000__Host-x` pass
for `__Host-x`. Here a name matches byte for byte, and a cookie counts only when there is exactly one of that name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

MAX_VALUE: Final = 4096
_BREAKS: Final = re.compile(r"[\s\x00-\x1f\x7f,\"']+")
_EPOCH: Final = "Thu, 01 Jan 1970 00:00:00 GMT"


def read_cookie(headers: Sequence[bytes], name: bytes) -> str | None:
    """The value of the one cookie called exactly `name` in the raw Cookie headers.

    None when there is no such cookie, more than one, or one whose value is not plain ASCII: that is anonymous.
    """
    found: bytes | None = None
    for header in headers:
        if name not in header:
            continue
        for pair in header.split(b";"):
            key, equals, value = pair.strip(b" \t").partition(b"=")
            if key == name and equals:
                if found is not None:
                    return None
                found = value
    if found is None or len(found) > MAX_VALUE or not found.isascii():
        return None
    return found.decode("ascii")


def without_cookies(header: bytes, names: Iterable[bytes]) -> bytes:
    """A Cookie header without the cookies of these names; b"" when nothing is left.

    Wider than `read_cookie` on purpose: a backend's parser may trim, unquote, fold case, or begin a cookie behind a
    comma or a blank too, and must not see one of the gateway's cookies, or what it would take for one, either. A pair
    that can be read so goes as a whole.
    """
    own = {name.decode("ascii").lower() for name in names}
    return b";".join(pair for pair in header.split(b";") if own.isdisjoint(_names(pair))).strip(b" \t;")


def _names(pair: bytes) -> set[str]:
    # Bytes that are no UTF-8 are dropped, and Unicode's spaces count as blanks, as with the laxest of backends.
    return {part.partition("=")[0] for part in _BREAKS.split(pair.decode("utf-8", "ignore").lower())}


@dataclass(frozen=True, slots=True)
class CookiePolicy:
    """How the refresh cookie is written, and thereby what it is called.

    `__Host-` binds the cookie to this host, https and Path=/; with a `domain` only `__Secure-` is possible; without
    `secure` (plain http in development) no prefix is.
    """

    name: str = "gw_refresh"
    secure: bool = True
    same_site: str = "strict"
    domain: str | None = None

    @property
    def full_name(self) -> str:
        """The name as sent, prefix included."""
        if not self.secure:
            return self.name
        return f"__Secure-{self.name}" if self.domain else f"__Host-{self.name}"

    @property
    def raw_name(self) -> bytes:
        """`full_name` as it stands in a Cookie header."""
        return self.full_name.encode("ascii")

    def build(self, value: str, max_age: int) -> str:
        """The Set-Cookie value that stores `value` for `max_age` seconds."""
        return f"{self.full_name}={value}; Max-Age={max_age}{self._attributes()}"

    def clear(self) -> str:
        """The Set-Cookie value that removes the cookie; Expires is for clients that predate Max-Age."""
        return f"{self.full_name}=; Max-Age=0; Expires={_EPOCH}{self._attributes()}"

    def _attributes(self) -> str:
        parts = ["; Path=/"]
        if self.domain:
            parts.append(f"; Domain={self.domain}")
        if self.secure:
            parts.append("; Secure")
        parts.append(f"; HttpOnly; SameSite={self.same_site.capitalize()}")
        return "".join(parts)
