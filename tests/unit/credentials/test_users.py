"""The user service."""

from __future__ import annotations

import pytest
from support.credentials import CredentialBench

from gateway.credentials.passwords import PasswordPolicy
from gateway.credentials.user import User
from gateway.credentials.users import UserService
from gateway.errors import Conflict, InvalidCredentials, InvalidRequest, NotFound
from gateway.sessions.ports import Ended

GOOD = "correct horse"


async def test_a_user_is_stored_as_given(bench: CredentialBench) -> None:
    user = await bench.users.add(" Alice ", GOOD, email="a@example.com", roles=["dev", "ops", "dev"])
    assert (user.username, user.username_key, user.email, user.roles) == (
        "Alice",
        "alice",
        "a@example.com",
        ("dev", "ops"),
    )
    assert (user.active, user.epoch, user.created_at) == (True, 0, bench.clock.now())
    assert await bench.users.find("ALICE") == user == await bench.stores.users.by_id(user.user_id)


async def test_a_name_is_taken_in_every_spelling(bench: CredentialBench) -> None:
    await bench.users.add("alice", GOOD)
    with pytest.raises(Conflict):
        await bench.users.add("ALICE", GOOD)
    with pytest.raises(Conflict):
        await bench.users.add_hashed(bench.users.new_user("Alice"), None)


@pytest.mark.parametrize(
    "unfit",
    [
        {"username": "a\r\nb"},
        {"username": "x" * 20_000},
        {"username": "a\ud800"},
        {"email": "a@b\r\nc"},
        {"roles": ["a,b"]},
        {"roles": ["x" * 20_000]},
        {"password": "short"},
    ],
)
async def test_what_cannot_be_a_header_or_a_password_is_not_stored(
    bench: CredentialBench, unfit: dict[str, object]
) -> None:
    values: dict[str, object] = {"username": "alice", "password": GOOD, **unfit}
    with pytest.raises(InvalidRequest):
        await bench.users.add(**values)  # type: ignore[arg-type]
    assert not await bench.stores.users.list_users()


async def test_a_hash_that_cannot_be_verified_is_not_stored(bench: CredentialBench) -> None:
    with pytest.raises(InvalidRequest, match="sha512_crypt"):
        await bench.users.add_hashed(bench.users.new_user("alice"), "$6$salt$digest")
    assert await bench.users.lookup("alice") is None


async def test_unknown_names_are_not_found(bench: CredentialBench) -> None:
    for name in ("nobody", "no\nname"):
        with pytest.raises(NotFound):
            await bench.users.find(name)


async def test_all_users_are_listed_by_name(bench: CredentialBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.credentials.users._PAGE", 2)
    for name in ("e", "B", "d", "a", "C"):
        await bench.users.add(name, None)
    assert [user.username async for user in bench.users.list_users()] == ["a", "B", "C", "d", "e"]


async def test_roles_and_state_change(bench: CredentialBench) -> None:
    user = await bench.users.add("alice", GOOD)
    await bench.users.set_roles(user.user_id, ["ops"])
    await bench.users.disable(user.user_id)
    disabled = await bench.users.find("alice")
    assert (disabled.roles, disabled.active) == (("ops",), False)
    await bench.users.enable(user.user_id)
    assert (await bench.users.find("alice")).active
    await bench.users.remove(user.user_id)
    assert await bench.users.lookup("alice") is None
    with pytest.raises(InvalidRequest):
        await bench.users.set_roles(user.user_id, ["a b"])


async def test_users_are_found_and_paged(bench: CredentialBench) -> None:
    users = {name: await bench.users.add(name, None) for name in ("C", "a", "b")}
    assert await bench.users.get(users["a"].user_id) == users["a"]
    with pytest.raises(NotFound):
        await bench.users.get("nobody")
    for who in (users["C"].user_id, "c", "C"):
        assert await bench.users.identify(who) == users["C"]
    assert await bench.users.identify("nobody") is None
    assert [user.username for user in await bench.users.page(limit=2)] == ["a", "b"]
    assert [user.username for user in await bench.users.page(limit=2, after="b")] == ["C"]


async def test_an_address_changes(bench: CredentialBench) -> None:
    user = await bench.users.add("alice", None, email="old@example.com")
    await bench.users.set_email(user.user_id, "new@example.com")
    assert (await bench.users.get(user.user_id)).email == "new@example.com"
    with pytest.raises(InvalidRequest):
        await bench.users.set_email(user.user_id, "no address")
    await bench.users.set_email(user.user_id, "")
    assert (await bench.users.get(user.user_id)).email is None


async def test_a_password_is_set_and_logs_in(bench: CredentialBench) -> None:
    user = await bench.users.add("alice", GOOD)
    await bench.users.set_password(user.user_id, "battery staple")
    assert (await bench.authenticator.authenticate("alice", "battery staple")).user_id == user.user_id
    with pytest.raises(InvalidCredentials):
        await bench.authenticator.authenticate("alice", GOOD)


async def test_changing_needs_the_current_password_and_a_fit_new_one(bench: CredentialBench) -> None:
    user = await bench.users.add("alice", GOOD)
    with pytest.raises(InvalidCredentials):
        await change(bench, user, "wrong", "battery staple")
    with pytest.raises(InvalidRequest):
        await change(bench, user, GOOD, "short")
    assert await bench.users.find("alice") == user
    await change(bench, user, GOOD, "battery staple")
    assert await bench.authenticator.authenticate("alice", "battery staple")


async def test_an_administrators_reset_beside_a_change_wins(
    bench: CredentialBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await bench.users.add("alice", GOOD)
    reset = await bench.hasher.hash("reset by the admin")
    hash_password = bench.hasher.hash

    async def hash_while_reset(password: str) -> str:
        await bench.stores.users.set_password(user.user_id, reset)
        return await hash_password(password)

    monkeypatch.setattr(bench.hasher, "hash", hash_while_reset)
    with pytest.raises(InvalidCredentials):
        await change(bench, user, GOOD, "battery staple")
    assert (await bench.users.find("alice")).password_hash == reset


async def test_a_reset_at_the_very_last_moment_wins_too(
    bench: CredentialBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await bench.users.add("alice", GOOD)
    store_password = bench.stores.users.set_password

    async def store_after_reset(user_id: str, password_hash: str, **options: str | None) -> Ended:
        await store_password(user_id, "reset")
        return await store_password(user_id, password_hash, **options)

    monkeypatch.setattr(bench.stores.users, "set_password", store_after_reset)
    with pytest.raises(InvalidCredentials):
        await change(bench, user, GOOD, "battery staple")
    assert (await bench.users.find("alice")).password_hash == "reset"


async def test_a_user_removed_beside_a_change_gets_the_answer_to_a_wrong_password(
    bench: CredentialBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await bench.users.add("alice", GOOD)
    hash_password = bench.hasher.hash

    async def hash_while_removed(password: str) -> str:
        await bench.stores.users.remove(user.user_id)
        return await hash_password(password)

    monkeypatch.setattr(bench.hasher, "hash", hash_while_removed)
    with pytest.raises(InvalidCredentials):
        await change(bench, user, GOOD, "battery staple")


async def test_the_policy_is_the_operators(bench: CredentialBench) -> None:
    strict = UserService(bench.stores.users, bench.hasher, bench.clock, policy=PasswordPolicy(min_length=15))
    with pytest.raises(InvalidRequest, match="15"):
        strict.check_password("fourteen chars")
    strict.check_password("fifteen chars !")


async def change(bench: CredentialBench, user: User, current: str, new: str) -> None:
    await bench.users.change_password(bench.authenticator, user.user_id, current, new, keep=None)
