"""Log-in by name and password."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from support.credentials import CredentialBench

from gateway.credentials.authenticator import LoginProblem, LoginRefused
from gateway.credentials.schemes.argon2 import Argon2Hash, Argon2Parameters
from gateway.credentials.user import User
from gateway.errors import InvalidCredentials, NotFound, StoreBusy, TemporarilyUnavailable
from gateway.events import Name

BCRYPT_OF_PASSWORD = "$2b$12$bIRGj4QPPoSUMWsJE.4Pk.T1qTpDWz7HhMnuiQhGzGinKPsx/HQdq"
GOOD = "correct horse"


def older_hash(password: str) -> str:
    """A hash of `password` with parameters that are not the current ones."""
    return str(Argon2Hash.create(password.encode(), bytes(16), Argon2Parameters(16, 1, 1)))


async def refused(attempt: Awaitable[User]) -> LoginRefused:
    """The refusal of `attempt`."""
    with pytest.raises(LoginRefused) as refusal:
        await attempt
    assert refusal.value.code == InvalidCredentials.code
    assert refusal.value.detail is None
    return refusal.value


def beside_the_check(
    bench: CredentialBench, monkeypatch: pytest.MonkeyPatch, *acts: Callable[[], Awaitable[object]]
) -> None:
    """Let each of `acts` happen just after one verification."""
    left = list(acts)
    verify = bench.hasher.verify

    async def verify_then_act(password: str, stored: str | None) -> object:
        verification = await verify(password, stored)
        if left:
            await left.pop(0)()
        return verification

    monkeypatch.setattr(bench.hasher, "verify", verify_then_act)


async def test_any_spelling_of_the_name_logs_in(bench: CredentialBench) -> None:
    added = await bench.users.add("Alice", GOOD)
    assert await bench.authenticator.authenticate(" ALICE ", GOOD) == added
    assert await bench.authenticator.confirm(added.user_id, GOOD) == added


async def test_what_is_wrong_is_told_to_the_log_alone(bench: CredentialBench) -> None:
    alice = await bench.users.add("alice", GOOD)
    locked = await bench.users.add("locked", GOOD)
    await bench.users.disable(locked.user_id)
    blank = await bench.users.add("blank", None)
    odd = await bench.users.add("odd", None)
    await bench.stores.users.set_password(odd.user_id, "$6$salt$digest")
    cases = [
        ("nobody", GOOD, LoginProblem.UNKNOWN_USER, None),
        ("no\nname", GOOD, LoginProblem.UNKNOWN_USER, None),
        ("alice", "wrong", LoginProblem.WRONG_PASSWORD, alice.user_id),
        ("locked", GOOD, LoginProblem.USER_DISABLED, locked.user_id),
        ("locked", "wrong", LoginProblem.WRONG_PASSWORD, locked.user_id),
        ("blank", "", LoginProblem.NO_PASSWORD, blank.user_id),
        ("odd", GOOD, LoginProblem.UNUSABLE_HASH, odd.user_id),
    ]
    for name, password, reason, user_id in cases:
        refusal = await refused(bench.authenticator.authenticate(name, password))
        assert (refusal.reason, refusal.user_id) == (reason, user_id)


async def test_confirming_needs_a_known_user_and_the_password(bench: CredentialBench) -> None:
    alice = await bench.users.add("alice", GOOD)
    assert (await refused(bench.authenticator.confirm("nobody", GOOD))).reason is LoginProblem.UNKNOWN_USER
    assert (await refused(bench.authenticator.confirm(alice.user_id, "x"))).reason is LoginProblem.WRONG_PASSWORD


@pytest.mark.parametrize(
    ("stored", "password"), [(BCRYPT_OF_PASSWORD, "password"), (older_hash("password"), "password")]
)
async def test_a_log_in_upgrades_the_hash(bench: CredentialBench, stored: str, password: str) -> None:
    user = await bench.users.add_hashed(bench.users.new_user("carol"), stored)
    assert (await bench.authenticator.authenticate("carol", password)).user_id == user.user_id
    upgraded = await bench.users.find("carol")
    assert upgraded.password_hash is not None
    assert upgraded.password_hash.startswith("$argon2id$v=19$m=8,t=1,p=1$")
    assert (upgraded.epoch, upgraded.password_changed_at) == (user.epoch, user.password_changed_at)
    assert await bench.authenticator.authenticate("carol", password) == upgraded
    assert await bench.users.find("carol") == upgraded


async def test_a_failed_log_in_upgrades_nothing(bench: CredentialBench) -> None:
    user = await bench.users.add_hashed(bench.users.new_user("carol"), older_hash("password"))
    await refused(bench.authenticator.authenticate("carol", "Password"))
    assert await bench.users.find("carol") == user


async def test_an_upgrade_that_fails_is_reported_and_the_log_in_stands(
    bench: CredentialBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await bench.users.add_hashed(bench.users.new_user("carol"), older_hash("password"))

    async def busy(*_: object) -> bool:
        raise StoreBusy(debug="locked")

    monkeypatch.setattr(bench.stores.users, "upgrade_hash", busy)
    assert await bench.authenticator.authenticate("carol", "password") == user
    (event,) = bench.events.events
    assert (event.name, event.user_id) == (Name.STORE_FAILED, user.user_id)
    assert event.fields["operation"] == "users.upgrade_hash"


async def test_disabling_beside_the_check_wins(bench: CredentialBench, monkeypatch: pytest.MonkeyPatch) -> None:
    user = await bench.users.add("alice", GOOD)
    beside_the_check(bench, monkeypatch, lambda: bench.users.disable(user.user_id))
    assert (await refused(bench.authenticator.authenticate("alice", GOOD))).reason is LoginProblem.USER_DISABLED


async def test_removing_beside_the_check_wins(bench: CredentialBench, monkeypatch: pytest.MonkeyPatch) -> None:
    user = await bench.users.add("alice", GOOD)
    beside_the_check(bench, monkeypatch, lambda: bench.users.remove(user.user_id))
    await refused(bench.authenticator.authenticate("alice", GOOD))
    with pytest.raises(NotFound):
        await bench.users.find("alice")


async def test_a_new_password_beside_the_check_wins(bench: CredentialBench, monkeypatch: pytest.MonkeyPatch) -> None:
    user = await bench.users.add("alice", GOOD)
    beside_the_check(bench, monkeypatch, lambda: bench.users.set_password(user.user_id, "battery staple"))
    assert (await refused(bench.authenticator.authenticate("alice", GOOD))).reason is LoginProblem.WRONG_PASSWORD


async def test_another_log_in_may_upgrade_beside_the_check(
    bench: CredentialBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = older_hash("password")
    user = await bench.users.add_hashed(bench.users.new_user("carol"), stored)
    new = await bench.hasher.hash("password")
    beside_the_check(bench, monkeypatch, lambda: bench.stores.users.upgrade_hash(user.user_id, stored, new))
    assert (await bench.authenticator.authenticate("carol", "password")).password_hash == new
    assert not bench.events.events


async def test_a_password_that_keeps_changing_is_an_outage(
    bench: CredentialBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await bench.users.add("alice", GOOD)
    again = lambda: bench.users.set_password(user.user_id, GOOD)  # noqa: E731
    beside_the_check(bench, monkeypatch, again, again)
    with pytest.raises(TemporarilyUnavailable):
        await bench.authenticator.authenticate("alice", GOOD)


async def test_the_user_is_returned_with_the_epoch_of_now(
    bench: CredentialBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await bench.users.add("alice", GOOD)
    beside_the_check(bench, monkeypatch, lambda: bench.users.set_roles(user.user_id, ["ops"]))
    fresh = await bench.authenticator.authenticate("alice", GOOD)
    assert (fresh.roles, fresh.epoch) == (("ops",), user.epoch + 1)
