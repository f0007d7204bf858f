"""Refresh tokens: derived, recognised, refused."""

from __future__ import annotations

import hmac
import uuid

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from support.tokens import SID, master_keys

from gateway.errors import InvalidGrant
from gateway.tokens import encoding
from gateway.tokens.errors import ForgedToken, WithdrawnKey
from gateway.tokens.refresh_token import MAX_GENERATION, TOKEN_CHARACTERS, PresentedToken, RefreshTokens

STORE = b"s" * 16


@pytest.fixture
def tokens() -> RefreshTokens:
    return RefreshTokens(master_keys(), STORE)


def test_issue_is_the_same_every_time_and_parses(tokens: RefreshTokens) -> None:
    token = tokens.issue(1, SID, 7)
    assert token == RefreshTokens(master_keys(), STORE).issue(1, SID, 7)
    assert token.startswith("gwr_")
    assert len(token) == TOKEN_CHARACTERS == 75
    assert tokens.parse(token) == tokens.parse(token.encode()) == PresentedToken(1, SID, 7)


def test_the_bytes_are_as_documented(tokens: RefreshTokens) -> None:
    key = HKDF(hashes.SHA256(), 32, b"gateway refresh token 1", uuid.UUID(SID).bytes).derive(bytes([1]) * 32)
    claim = uuid.UUID(SID).bytes + (7).to_bytes(4, "big")
    mac = hmac.digest(key, b"rt1" + STORE + claim, "sha256")
    assert tokens.issue(1, SID, 7) == "gwr_" + encoding.encode(b"\x01" + claim + mac).decode()


def test_new_sessions_are_bound_to_the_newest_master_key() -> None:
    assert RefreshTokens(master_keys(1, 3), STORE).kid == 3


@pytest.mark.parametrize("generation", [0, 1, 255, 256, MAX_GENERATION])
def test_generations_at_the_edges(tokens: RefreshTokens, generation: int) -> None:
    assert tokens.parse(tokens.issue(1, SID, generation)).generation == generation


def test_each_of_key_session_generation_and_store_makes_another_token() -> None:
    keys = master_keys(1, 2)
    issued = {
        RefreshTokens(keys, STORE).issue(1, SID, 7),
        RefreshTokens(keys, STORE).issue(2, SID, 7),
        RefreshTokens(keys, STORE).issue(1, str(uuid.UUID(int=1)), 7),
        RefreshTokens(keys, STORE).issue(1, SID, 8),
        RefreshTokens(keys, b"t" * 16).issue(1, SID, 7),
    }
    assert len({token[-43:] for token in issued}) == 5


def test_a_backup_restored_as_another_store_knows_no_old_token(tokens: RefreshTokens) -> None:
    with pytest.raises(ForgedToken):
        RefreshTokens(master_keys(), b"t" * 16).parse(tokens.issue(1, SID, 7))


def test_old_master_keys_still_parse_and_withdrawn_ones_are_told_apart() -> None:
    old = RefreshTokens(master_keys(1), STORE).issue(1, SID, 7)
    assert RefreshTokens(master_keys(1, 2), STORE).parse(old) == PresentedToken(1, SID, 7)
    with pytest.raises(WithdrawnKey) as caught:
        RefreshTokens(master_keys(2), STORE).parse(old)
    assert (caught.value.kid, caught.value.sid) == (1, SID)
    assert isinstance(caught.value, ForgedToken)
    assert isinstance(caught.value, InvalidGrant)


@pytest.mark.parametrize("kid", [0, 3, 255])
def test_key_numbers_that_never_were_are_forged(kid: int) -> None:
    data = bytes([kid]) + bytes(52)
    with pytest.raises(ForgedToken) as caught:
        RefreshTokens(master_keys(2), STORE).parse("gwr_" + encoding.encode(data).decode())
    assert not isinstance(caught.value, WithdrawnKey)


def test_every_single_flipped_bit_is_forged(tokens: RefreshTokens) -> None:
    data = bytearray(encoding.decode(tokens.issue(1, SID, 7)[4:].encode()) or b"")
    for position in range(len(data) * 8):
        data[position // 8] ^= 1 << position % 8
        with pytest.raises(ForgedToken):
            tokens.parse("gwr_" + encoding.encode(bytes(data)).decode())
        data[position // 8] ^= 1 << position % 8
    assert tokens.parse("gwr_" + encoding.encode(bytes(data)).decode()).generation == 7


def test_second_spellings_of_a_good_token_are_forged(tokens: RefreshTokens) -> None:
    token = tokens.issue(1, SID, 7)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    loose = [token[:-1] + alphabet[alphabet.index(token[-1]) ^ bits] for bits in (1, 2, 3)]
    for other in (
        *loose,
        token + "=",
        token[:-1] + "=",
        token[:-1],
        token + "A",
        " " + token,
        token + "\n",
        token[:-1] + "\n",
        "GWR_" + token[4:],
        "gwr-" + token[4:],
        token[4:],
        "gwr_" + token,
        token[:-1] + "é",
        "\ud800" * 75,
        "",
    ):
        with pytest.raises(ForgedToken):
            tokens.parse(other)


def test_errors_carry_nothing_of_the_token(tokens: RefreshTokens) -> None:
    token = tokens.issue(1, SID, 7)
    with pytest.raises(ForgedToken) as caught:
        tokens.parse(token[:-4] + "AAAA")
    assert token[8:20] not in f"{caught.value} {caught.value.detail} {caught.value.debug}"
