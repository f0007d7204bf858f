"""User names, e-mail addresses and roles."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.credentials.names import attempt_key, check_email, check_roles, check_username, fold_username
from gateway.errors import InvalidRequest

UNFIT = [
    "",
    "   ",
    "a\nb",
    "a\r\nX-Role: admin",
    "a\0b",
    "a\x7fb",
    "a\ud800b",
    "ad\u200bmin",
    "a\u202eb",
    "a\u2028b",
    "x" * 256,
]


@pytest.mark.parametrize("name", UNFIT)
def test_a_name_that_cannot_be_a_header_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest):
        check_username(name)
    with pytest.raises(InvalidRequest):
        fold_username(name)
    assert attempt_key(name) == ""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Alice", "aLICE"),
        ("  alice ", "alice"),
        ("Zoe\u0308", "zo\u00eb"),
        ("STRASSE", "straße"),
        ("\uff21lice", "alice"),
        ("ﬁona", "FIONA"),
        ("Ὀδυσσεύς", "ὀδυσσεύΣ"),
    ],
)
def test_spellings_of_one_name_fold_alike(one: str, other: str) -> None:
    assert fold_username(one) == fold_username(other) == attempt_key(other)


def test_the_name_keeps_its_spelling() -> None:
    assert check_username("  Ada Lovelace ") == "Ada Lovelace"


def test_folding_must_not_outgrow_the_limit() -> None:
    with pytest.raises(InvalidRequest, match="longer"):
        fold_username("\ufdfa" * 200)


def test_a_name_of_blanks_in_disguise_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="empty"):
        fold_username("\u00a0\u3000")


@given(st.text(max_size=40))
def test_folding_twice_is_folding_once(name: str) -> None:
    key = attempt_key(name)
    assert attempt_key(key) == key


@pytest.mark.parametrize("address", ["a@example.com", "root@localhost", "ü.b+c@exämple.org", "o'neill@x.y"])
def test_an_address_is_kept(address: str) -> None:
    assert check_email(f" {address} ") == address


@pytest.mark.parametrize("nothing", [None, "", "  "])
def test_no_address_is_none(nothing: str | None) -> None:
    assert check_email(nothing) is None


@pytest.mark.parametrize(
    "address",
    ["a", "@b", "a@", "a@b@c", "a b@c.d", "a@b\r\nX: y", "a@b..c", "a@-b.c", "a@b-.c", "a@b.", "<a@b>", "a,b@c",
     "\ud800@b.c", "a\u200b@b.c", "x" * 65 + "@b.c", "a@" + "b" * 253],
)  # fmt: skip
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(InvalidRequest, match="e-mail"):
        check_email(address)


def test_roles_keep_order_and_lose_repetition() -> None:
    assert check_roles(["dev", "admin", "dev", "rôle:read/write"]) == ("dev", "admin", "rôle:read/write")


@pytest.mark.parametrize("role", ["", "a,b", "a b", "a\tb", "a\r\nb", "a\0", "\u00a0", "\ud800", "x\u200b", "x" * 65])
def test_a_role_that_cannot_be_in_a_list_is_refused(role: str) -> None:
    with pytest.raises(InvalidRequest, match="role"):
        check_roles([role])


def test_roles_are_bounded_in_number_and_together() -> None:
    assert len(check_roles(f"r{n}" for n in range(64))) == 64
    with pytest.raises(InvalidRequest, match="more than 64"):
        check_roles(f"r{n}" for n in range(65))
    with pytest.raises(InvalidRequest, match="2048 bytes"):
        check_roles("ü" * 60 + str(n) for n in range(20))
