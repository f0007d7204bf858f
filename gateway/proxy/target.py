"""Request targets: each has one spelling here, or it is refused. What is matched is what is sent.

RFC 3986 6.2.2 is applied once: percent-encoded unreserved characters are decoded, hex digits upper-cased. Whatever a
backend could still read another way than the route table did is `InvalidRequest`.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from gateway.errors import InvalidRequest

_CLEAN: Final = re.compile(r"[A-Za-z0-9\-._~!$&'()*+,=:@/]*", re.ASCII)
_RAW_REFUSED: Final = re.compile(r"[^\x21-\x7e]|[\\#;?]")
_DOUBLE: Final = re.compile(r"%25[0-9A-Fa-f]{2}")
_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_HEX: Final = frozenset("0123456789abcdefABCDEF")
_SLASH: Final = 0x2F
_CODES_REFUSED: Final = frozenset({*range(0x20), 0x7F, ord("\\"), ord(";"), ord("#")})
_HOST: Final = re.compile(rb"([A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(?::([0-9]{1,5}))?")
_DEFAULT_PORTS: Final = {"http": b"80", "https": b"443"}


class Target(NamedTuple):
    """A target taken apart. `query` keeps its `?` and its bytes; `authority` is that of an absolute form."""

    path: str
    query: str
    authority: tuple[str, str] | None = None


def split(raw: str) -> Target:
    """Take origin form or absolute form apart; nothing is checked but the shape."""
    authority = None
    rest = raw
    if not raw.startswith("/"):
        scheme, marker, rest = raw.partition("://")
        if not marker or scheme.lower() not in _DEFAULT_PORTS:
            raise InvalidRequest("The request target is neither a path nor an http URL.")
        end = min((at for at in (rest.find("/"), rest.find("?"), rest.find("#")) if at >= 0), default=len(rest))
        authority = (scheme.lower(), rest[:end])
        rest = rest[end:]
    path, mark, query = rest.partition("?")
    if "#" in rest:
        raise InvalidRequest("The request target has a fragment.")
    return Target(path or "/", mark + query, authority)


def normalise(path: str) -> tuple[str, bool]:
    """The one spelling of `path`, and whether it has an encoded slash, which only some routes take."""
    if _CLEAN.fullmatch(path) is None:
        path = _recode(path)
    if not path.startswith("/"):
        raise InvalidRequest("The path does not start with a slash.")
    encoded_slash = "%2F" in path
    _check_segments(path.replace("%2F", "/") if encoded_slash else path)
    return path, encoded_slash


def _check_segments(path: str) -> None:
    if "//" in path:
        raise InvalidRequest("The path has an empty segment.")
    if "/." in path and not {".", ".."}.isdisjoint(path.split("/")):
        raise InvalidRequest("The path has dot segments.")


def _recode(path: str) -> str:
    if _RAW_REFUSED.search(path):
        raise InvalidRequest("The path has a character that backends read in different ways.")
    first, *rest = path.split("%")
    found = "".join([first, *map(_decode, rest)])
    if _DOUBLE.search(found):
        raise InvalidRequest("The path is encoded twice.")
    try:
        unquote_to_bytes(found).decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidRequest("The path is not UTF-8.") from None
    return found


def _decode(piece: str) -> str:
    """One piece behind a `%`: two hex digits and what follows them."""
    digits = piece[:2]
    if len(digits) != 2 or not _HEX.issuperset(digits):
        raise InvalidRequest("The path has a broken percent-encoding.")
    code = int(digits, 16)
    if code in _CODES_REFUSED:
        raise InvalidRequest("The path has an encoded character that backends read in different ways.")
    char = chr(code)
    return (char if char in _UNRESERVED else "%" + digits.upper()) + piece[2:]


def host_name(value: bytes) -> str:
    """The lower-case name in a Host header, without port and trailing dot. Raises `InvalidRequest`."""
    found = _HOST.fullmatch(value)
    if found is None or int(found[2] or 0) > 0xFFFF:
        raise InvalidRequest("The Host header is not a host name.")
    return found[1].decode("ascii").lower().removesuffix(".")


def check_authority(authority: tuple[str, str], host: bytes | None) -> None:
    """An absolute-form target must name the same host as the Host header, the default port being optional."""
    scheme, name = authority
    if host is None:
        raise InvalidRequest("The request has no Host header.")
    wanted = name.encode("utf-8", "surrogateescape")
    if _with_port(wanted, scheme) != _with_port(host, scheme):
        raise InvalidRequest("The request target and the Host header name different hosts.")


def _with_port(value: bytes, scheme: str) -> tuple[str, bytes]:
    name = host_name(value)
    found = _HOST.fullmatch(value)
    return name, (found[2] if found and found[2] else _DEFAULT_PORTS[scheme])
