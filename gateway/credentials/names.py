"""User names, e-mail addresses and roles: what may be stored, because it travels in a header later.

Bounds are chosen so that all identity headers of one user stay under 4 KiB: name 1,020 bytes, e-mail 254, roles 2,048.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from gateway.errors import InvalidRequest

MAX_USERNAME = 255
MAX_EMAIL = 254
MAX_EMAIL_LOCAL = 64
MAX_ROLES = 64
MAX_ROLE = 64
MAX_ROLES_BYTES = 2048

# Controls, format characters (invisible look-alikes, bidi overrides: RFC 8264 keeps them out of identifiers too),
# lone surrogates, line and paragraph separators.
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_EMAIL = re.compile(r"[^\s@<>()\[\],;:\\\"]+@[^\s@<>()\[\],;:\\\"]+")


def check_username(username: str) -> str:
    """The name as it is stored: trimmed. Raises `InvalidRequest` when it cannot be a name."""
    name = username.strip()
    if not name:
        raise InvalidRequest("user name: must not be empty")
    if len(name) > MAX_USERNAME:
        raise InvalidRequest(f"user name: longer than {MAX_USERNAME} characters")
    if _unprintable(name):
        raise InvalidRequest("user name: control, invisible or unpaired characters are not allowed")
    return name


def fold_username(username: str) -> str:
    """The form that is unique and looked up: Unicode's compatibility caseless form (D146), composed.

    Raises `InvalidRequest` for what `check_username` refuses, and when folding makes it too long.
    """
    decomposed = unicodedata.normalize("NFD", check_username(username))
    once = unicodedata.normalize("NFKC", decomposed.casefold())
    key = unicodedata.normalize("NFKC", once.casefold()).strip()
    if len(key) > MAX_USERNAME:
        raise InvalidRequest(f"user name: longer than {MAX_USERNAME} characters")
    return key


def attempt_key(username: str) -> str:
    """The key a log-in attempt is throttled by: the folded name, or one key for all that can't be a name."""
    try:
        return fold_username(username)
    except InvalidRequest:
        return ""


def check_email(email: str | None) -> str | None:
    """The address as it is stored, None for none. Pragmatic: one @, no blanks, sane lengths."""
    address = (email or "").strip()
    if not address:
        return None
    if _unprintable(address):
        raise InvalidRequest("e-mail: control, invisible or unpaired characters are not allowed")
    if len(address.encode()) > MAX_EMAIL:
        raise InvalidRequest(f"e-mail: longer than {MAX_EMAIL} bytes")
    local, _, domain = address.rpartition("@")
    if not _EMAIL.fullmatch(address) or len(local) > MAX_EMAIL_LOCAL or not _is_domain(domain):
        raise InvalidRequest("e-mail: not an address")
    return address


def check_roles(roles: Iterable[str]) -> tuple[str, ...]:
    """The roles as they are stored: in order, without repetition. Roles are joined by commas in their header."""
    unique = tuple(dict.fromkeys(roles))
    for role in unique:
        _check_role(role)
    if len(unique) > MAX_ROLES:
        raise InvalidRequest(f"roles: more than {MAX_ROLES}")
    if len(",".join(unique).encode()) > MAX_ROLES_BYTES:
        raise InvalidRequest(f"roles: longer than {MAX_ROLES_BYTES} bytes together")
    return unique


def _check_role(role: str) -> None:
    if not role:
        raise InvalidRequest("role: must not be empty")
    if len(role) > MAX_ROLE:
        raise InvalidRequest(f"role: longer than {MAX_ROLE} characters")
    if "," in role or _unprintable(role) or any(character.isspace() for character in role):
        raise InvalidRequest("role: commas, blanks, control, invisible or unpaired characters are not allowed")


def _is_domain(domain: str) -> bool:
    return all(label and not label.startswith("-") and not label.endswith("-") for label in domain.split("."))


def _unprintable(text: str) -> bool:
    return any(unicodedata.category(character) in _UNPRINTABLE for character in text)
