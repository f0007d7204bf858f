"""Passwords as text: what may be set, and which bytes a typed one may stand for (NIST SP 800-63B 3.1.1)."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from gateway.errors import InvalidRequest

MAX_LOGIN_BYTES = 4096


@dataclass(frozen=True, slots=True)
class PasswordPolicy:
    """What a new password must be. Lengths are characters (code points)."""

    min_length: int = 8
    max_length: int = 1024


def check_new_password(password: str, policy: PasswordPolicy) -> None:
    """Raise `InvalidRequest` when `password` may not be set."""
    if len(password) > policy.max_length:
        raise InvalidRequest(f"password: longer than {policy.max_length} characters")
    if "\0" in password or _encode(password) is None:
        raise InvalidRequest("password: contains a character that cannot be typed")
    if len(unicodedata.normalize("NFKC", password)) < policy.min_length:
        raise InvalidRequest(f"password: shorter than {policy.min_length} characters")


def secret_to_store(password: str) -> bytes:
    """The bytes our own hashes are made from: NFKC, so that every keyboard's way to write an accent is the same."""
    return unicodedata.normalize("NFKC", password).encode()


def secrets_to_try(password: str) -> tuple[bytes, ...]:
    """The bytes a stored hash may have been made from: as typed, then NFKC where that differs.

    How many there are depends on the password alone, never on the account. Empty: too long or not text, which can only
    be wrong.
    """
    if len(password) > MAX_LOGIN_BYTES:
        return ()
    typed = _encode(password)
    if typed is None or len(typed) > MAX_LOGIN_BYTES:
        return ()
    return tuple(dict.fromkeys((typed, secret_to_store(password))))


def _encode(password: str) -> bytes | None:
    try:
        return password.encode()
    except UnicodeEncodeError:
        return None
