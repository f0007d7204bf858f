"""What may be set as a password, and which bytes a typed one may stand for."""

from __future__ import annotations

import pytest

from gateway.credentials.passwords import PasswordPolicy, check_new_password, secret_to_store, secrets_to_try
from gateway.errors import InvalidRequest

POLICY = PasswordPolicy()


@pytest.mark.parametrize("password", ["12345678", "x" * 1024, "pass phrase with blanks", "пароль-пароль", "ﬃﬃﬃ"])
def test_passwords_that_may_be_set(password: str) -> None:
    check_new_password(password, POLICY)
    assert secrets_to_try(password)


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("1234567", "shorter"),
        ("e\u0301" * 4, "shorter"),
        ("x" * 1025, "longer"),
        ("12345678\0", "cannot be typed"),
        ("12345678\ud800", "cannot be typed"),
    ],
)
def test_passwords_that_may_not(password: str, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why) as refusal:
        check_new_password(password, POLICY)
    assert password not in str(refusal.value)


def test_plain_text_stands_for_one_secret() -> None:
    assert secrets_to_try("correct horse") == (b"correct horse",) == (secret_to_store("correct horse"),)


def test_other_spellings_are_tried_as_typed_first() -> None:
    assert secrets_to_try("e\u0301") == (b"e\xcc\x81", b"\xc3\xa9")


@pytest.mark.parametrize("password", ["x" * 4097, "ü" * 2049, "a\ud800", "x" * 1_000_000])
def test_what_can_only_be_wrong_stands_for_nothing(password: str) -> None:
    assert secrets_to_try(password) == ()


def test_the_longest_that_may_be_set_can_be_typed() -> None:
    assert secrets_to_try("\U0001f512" * 1024)
