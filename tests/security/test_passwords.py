"""Passwords and names an attacker would send: the same answer after the same work, and no way round a limit."""

from __future__ import annotations

import unicodedata
from collections.abc import AsyncIterator

import bcrypt
import pytest
import pytest_asyncio
from support.clock import FrozenClock
from support.credentials import CHEAP, CredentialBench, HashCounter

from gateway.credentials.authenticator import LoginRefused
from gateway.credentials.names import attempt_key
from gateway.errors import InvalidCredentials, InvalidRequest
from gateway.risk.network import network_prefix
from gateway.throttle.login import LoginThrottle

GOOD = "correct horse"
COST = (CHEAP.memory_kib, CHEAP.passes, CHEAP.lanes)


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[CredentialBench]:
    """Users in memory with hashes that cost next to nothing."""
    made = CredentialBench()
    yield made
    await made.close()


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> HashCounter:
    """Sees every Argon2 computation."""
    made = HashCounter()
    monkeypatch.setattr("gateway.credentials.schemes.argon2.hash_secret_raw", made)
    return made


async def answer(bench: CredentialBench, name: str, password: str) -> tuple[str, int, str | None, int | None]:
    """What a client would see of a refused log-in."""
    with pytest.raises(InvalidCredentials) as refusal:
        await bench.authenticator.authenticate(name, password)
    error = refusal.value
    return error.code, error.status, error.detail, error.retry_after


@pytest.mark.parametrize(
    "password",
    ["wrong", "", "x" * 1_000_000, "ü" * 3000, GOOD + "\0", "\0", "\ud800", GOOD + " "],
    ids=["wrong", "empty", "1 MB", "6 KB", "NUL behind", "NUL", "surrogate", "blank behind"],
)
async def test_every_wrong_password_costs_one_hash_whoever_the_user_is(
    bench: CredentialBench, counter: HashCounter, password: str
) -> None:
    await bench.users.add("alice", GOOD)
    off = await bench.users.add("off", GOOD)
    await bench.users.disable(off.user_id)
    await bench.users.add("blank", None)
    answers = set()
    for name in ("alice", "off", "blank", "nobody", "no\r\nname", "\ud800", "", "x" * 10_000):
        counter.costs.clear()
        answers.add(await answer(bench, name, password))
        assert counter.costs == [COST], name
    assert answers == {("invalid_credentials", 401, None, None)}


async def test_the_right_password_of_a_disabled_user_is_answered_like_a_wrong_one(
    bench: CredentialBench, counter: HashCounter
) -> None:
    off = await bench.users.add("off", GOOD)
    await bench.users.disable(off.user_id)
    counter.costs.clear()
    assert await answer(bench, "off", GOOD) == await answer(bench, "nobody", GOOD)
    assert counter.costs == [COST, COST]


async def test_the_work_depends_on_the_password_and_not_on_the_account(
    bench: CredentialBench, counter: HashCounter
) -> None:
    await bench.users.add("alice", GOOD)
    work = []
    for name in ("alice", "nobody"):
        counter.costs.clear()
        await answer(bench, name, "e\u0301-not-composed")
        work.append(counter.costs[:])
    assert work[0] == work[1] == [COST, COST]


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
async def test_every_keyboards_spelling_of_a_password_logs_in(bench: CredentialBench, form: str) -> None:
    await bench.users.add("alice", "Zoe\u0308s caf\u00e9 \ufb01ne")
    typed = unicodedata.normalize(form, "Zoës café ﬁne")  # type: ignore[arg-type]
    assert (await bench.authenticator.authenticate("alice", typed)).username == "alice"


@pytest.mark.parametrize("form", ["NFC", "NFD"])
async def test_an_imported_hash_of_either_spelling_logs_in_with_it(bench: CredentialBench, form: str) -> None:
    typed = unicodedata.normalize(form, "Zoës café")  # type: ignore[arg-type]
    stored = bcrypt.hashpw(typed.encode(), bcrypt.gensalt(4)).decode()
    await bench.users.add_hashed(bench.users.new_user("alice"), stored)
    assert await bench.authenticator.authenticate("alice", typed)
    assert await bench.authenticator.authenticate("alice", unicodedata.normalize("NFC", typed))


async def test_our_own_hashes_see_every_byte(bench: CredentialBench) -> None:
    password = "x" * 72 + "tail"
    await bench.users.add("alice", password)
    assert await bench.authenticator.authenticate("alice", password)
    await answer(bench, "alice", "x" * 72 + "tale")
    await answer(bench, "alice", "x" * 72)


async def test_bcrypt_verifies_as_the_original_did_until_the_upgrade(bench: CredentialBench) -> None:
    password = "x" * 72 + "tail"
    stored = bcrypt.hashpw(password.encode()[:72], bcrypt.gensalt(4)).decode()
    await bench.users.add_hashed(bench.users.new_user("alice"), stored)
    assert await bench.authenticator.authenticate("alice", password)
    # The first log-in chose the password in full: from then on every byte counts.
    await answer(bench, "alice", "x" * 72 + "tale")


async def test_nul_is_not_the_end_of_a_bcrypt_password(bench: CredentialBench) -> None:
    stored = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    await bench.users.add_hashed(bench.users.new_user("alice"), stored)
    for password in ("secret\0", "secret\0secret", "secret\0anything"):
        await answer(bench, "alice", password)
    assert await bench.authenticator.authenticate("alice", "secret")


@pytest.mark.parametrize("password", ["x" * 1_000_000, "\0" * 10, GOOD + "\0", "\ud800" * 10])
async def test_such_passwords_cannot_be_set(bench: CredentialBench, password: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        await bench.users.add("alice", password)
    assert password not in str(refusal.value)
    assert await bench.users.lookup("alice") is None


async def test_no_error_carries_the_password(bench: CredentialBench) -> None:
    with pytest.raises(LoginRefused) as refusal:
        await bench.authenticator.authenticate("nobody", "s3cret-in-the-clear")
    assert "s3cret" not in repr(vars(refusal.value)) + str(refusal.value)


@pytest.mark.parametrize("names", [["alice", "ALICE", " Alice "], ["zoë", "ZOE\u0308", "Zo\u00eb"]])
async def test_letter_case_does_not_evade_the_throttle(names: list[str]) -> None:
    throttle = LoginThrottle(FrozenClock())
    for turn in range(10):
        key = attempt_key(names[turn % len(names)])
        assert await throttle.check(key, "192.0.2.0/24") == 0.0
        await throttle.failed(key, "192.0.2.0/24")
    assert await throttle.check(attempt_key(names[0]), "192.0.2.0/24") > 0.0


async def test_addresses_within_one_network_do_not_evade_the_throttle() -> None:
    throttle = LoginThrottle(FrozenClock())
    for host in range(10):
        network = network_prefix(f"2001:db8:0:1:{host:x}::1")
        assert await throttle.check("alice", network) == 0.0
        await throttle.failed("alice", network)
    assert await throttle.check("alice", network_prefix("2001:db8:0:1:ffff::1")) > 0.0
    assert await throttle.check("alice", network_prefix("2001:db8:ffff::1")) == 0.0


async def test_nobody_can_lock_somebody_else_out() -> None:
    clock = FrozenClock()
    throttle = LoginThrottle(clock)
    for number in range(5000):
        network = f"10.{number // 250}.{number % 250}.0/24"
        await throttle.check("alice", network)
        await throttle.failed("alice", network)
        clock.advance(0.01)
    assert await throttle.check("alice", "192.0.2.0/24") == 0.0
