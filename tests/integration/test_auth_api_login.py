"""POST /auth/login."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
from support.api import PASSWORD, Api, ApiBench, ApiSetup, serving

from gateway.auth_api.services import ApiLimits
from gateway.events import Name
from gateway.sessions.session import Channel
from gateway.throttle.gcra import Limit
from gateway.throttle.policy import ThrottlePolicy
from gateway.web.cookies import CookiePolicy

GOOD = {"username": "ada", "password": PASSWORD}


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    bench = ApiBench()
    await bench.add_user()
    async with serving(bench) as api:
        yield api


async def test_log_in_with_a_cookie(api: Api) -> None:
    answer = await api.login()
    body = answer.json
    assert set(body) == {"access_token", "token_type", "expires_in", "session_id", "user"}
    assert body["token_type"] == "Bearer"
    assert body["expires_in"] == 900
    assert re.fullmatch(r"[0-9a-f-]{36}", body["session_id"])
    assert body["user"] == {
        "id": body["user"]["id"],
        "username": "ada",
        "email": "ada@example.com",
        "roles": ["user"],
    }
    (cookie,) = answer.cookies
    assert re.fullmatch(
        r"__Host-gw_refresh=gwr_[\w-]+; Max-Age=86400; Path=/; Secure; HttpOnly; SameSite=Strict", cookie
    )
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Request-Id"]
    assert answer.headers["Server"] == "gateway"
    (event,) = api.bench.named(Name.LOGIN_SUCCEEDED)
    assert event.session_id == body["session_id"]
    assert event.fields["amr"] == ["pwd"]


async def test_log_in_for_tokens_in_the_body(api: Api) -> None:
    answer = await api.login(members={"token_delivery": "body"})
    assert answer.cookies == ()
    assert answer.json["refresh_token"].startswith("gwr_")
    assert answer.json["refresh_expires_in"] == 86400
    session = await api.bench.stores.sessions.get(answer.json["session_id"])
    assert session is not None
    assert session.channel is Channel.BODY


async def test_log_in_by_form(api: Api) -> None:
    answer = await api.post(
        "login",
        data="username=ada&password=correct+horse+battery+staple",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert answer.status == 200
    assert answer.cookies


async def test_the_name_may_be_spelt_otherwise(api: Api) -> None:
    assert (await api.login("ＡDA")).json["user"]["username"] == "ada"


async def test_cookie_without_tls() -> None:
    bench = ApiBench(ApiSetup(cookie=CookiePolicy(secure=False)))
    await bench.add_user()
    async with serving(bench) as api:
        assert (await api.login()).cookie.startswith("gw_refresh=gwr_")


async def test_unknown_user_and_wrong_password_are_alike(api: Api) -> None:
    unknown = await api.post("login", json={"username": "nobody", "password": PASSWORD})
    wrong = await api.post("login", json={"username": "ada", "password": "wrong"})
    disabled_user = await api.bench.add_user("eve")
    api.bench.sessions.announce(await api.bench.users.disable(disabled_user.user_id), None)
    disabled = await api.post("login", json={"username": "eve", "password": PASSWORD})
    for answer in (unknown, wrong, disabled):
        assert answer.status == 401
        assert answer.error == "invalid_credentials"
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="gateway"'
        assert answer.cookies == ()
    bodies = [{**answer.json, "request_id": ""} for answer in (unknown, wrong, disabled)]
    assert bodies[0] == bodies[1] == bodies[2]
    skipped = {"x-request-id", "date"}
    headers = [
        {name: value for name, value in answer.headers.items() if name.lower() not in skipped}
        for answer in (unknown, wrong, disabled)
    ]
    assert headers[0] == headers[1] == headers[2]
    reasons = [event.fields["reason"] for event in api.bench.named(Name.LOGIN_FAILED)]
    assert reasons == ["unknown_user", "wrong_password", "user_disabled"]


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"username": "ada"},
        {"password": PASSWORD},
        {"username": None, "password": PASSWORD},
        {"username": ["ada"], "password": PASSWORD},
        {"username": "ada", "password": 1},
        {"username": "ada", "password": {"$ne": ""}},
        {"username": "ada", "password": True},
        GOOD | {"token_delivery": "header"},
        GOOD | {"token_delivery": ["body"]},
    ],
)
async def test_wrong_members(api: Api, members: dict[str, object]) -> None:
    answer = await api.post("login", json=members)
    assert answer.status == 400
    assert answer.error == "invalid_request"


@pytest.mark.parametrize("password", ["", "\0", "a\0b", "x" * 73, "é" * 1000, "wrong" * 2000])
async def test_odd_passwords_are_just_wrong(api: Api, password: str) -> None:
    answer = await api.post("login", json={"username": "ada", "password": password})
    assert (answer.status, answer.error) == (401, "invalid_credentials")


@pytest.mark.parametrize("username", ["", " ", "\0", "a\nb", "x" * 5000, "\u202eada"])
async def test_odd_names_are_just_unknown(api: Api, username: str) -> None:
    answer = await api.post("login", json={"username": username, "password": PASSWORD})
    assert (answer.status, answer.error) == (401, "invalid_credentials")


async def test_unknown_members_are_ignored(api: Api) -> None:
    assert (await api.login(members={"remember": [1, {"x": None}]})).status == 200


async def test_body_tokens_turned_off() -> None:
    bench = ApiBench(ApiSetup(limits=ApiLimits(body_tokens=False)))
    await bench.add_user()
    async with serving(bench) as api:
        refused = await api.post("login", json=GOOD | {"token_delivery": "body"})
        assert refused.status == 400
        assert (await api.post("refresh", json={"refresh_token": "gwr_x"})).status == 400
        assert (await api.login(members={"token_delivery": "cookie"})).cookies


async def test_a_revocation_beside_the_log_in_wins(api: Api) -> None:
    user = await api.bench.users.find("ada")
    authenticator = api.bench.services.authenticator
    check = authenticator.authenticate

    async def slow(username: str, password: str) -> object:
        found = await check(username, password)
        api.bench.sessions.announce(await api.bench.users.disable(user.user_id), None)
        return found

    authenticator.authenticate = slow  # type: ignore[method-assign,assignment]
    answer = await api.post("login", json=GOOD)
    assert (answer.status, answer.error) == (401, "invalid_credentials")
    assert [event.fields["reason"] for event in api.bench.named(Name.LOGIN_FAILED)] == ["revoked"]


async def throttled(api: Api, username: str = "ada", **options: object) -> bool:
    answer = await api.post("login", json={"username": username, "password": "wrong"}, **options)
    assert answer.error == ("too_many_attempts" if answer.status == 429 else "invalid_credentials")
    return answer.status == 429


async def guess_until_throttled(api: Api, *, most: int = 20, **options: object) -> int:
    for number in range(most):
        if await throttled(api, **options):
            return number
    raise AssertionError("never throttled")


async def test_throttle(api: Api) -> None:
    await guess_until_throttled(api)
    answer = await api.post("login", json=GOOD)
    assert answer.status == 429
    assert int(answer.headers["Retry-After"]) > 0
    assert api.bench.named(Name.LOGIN_THROTTLED)
    api.bench.clock.advance(int(answer.headers["Retry-After"]))
    assert (await api.post("login", json=GOOD)).status == 200


async def test_throttle_is_not_keyed_on_the_guess_or_the_spelling(api: Api) -> None:
    await guess_until_throttled(api)
    for username in ("ADA", "Ada", "ａda", " ada "):
        assert await throttled(api, username)


async def test_throttle_is_not_evaded_by_forwarded_addresses(api: Api) -> None:
    await guess_until_throttled(api, headers={"X-Forwarded-For": "203.0.113.1"})
    assert await throttled(api, headers={"X-Forwarded-For": "203.0.113.2"})


async def test_throttle_counts_a_whole_64_as_one_and_locks_nobody_else_out() -> None:
    bench = ApiBench(ApiSetup(trusted_proxies=("127.0.0.1",)))
    await bench.add_user()
    async with serving(bench) as api:
        await guess_until_throttled(api, headers={"X-Forwarded-For": "2001:db8:0:1::1"})
        assert await throttled(api, headers={"X-Forwarded-For": "2001:db8:0:1:ffff::2"})
        victim = await api.post("login", json=GOOD, headers={"X-Forwarded-For": "203.0.113.7"})
        assert victim.status == 200


async def test_an_outage_of_the_store_is_no_failed_attempt(api: Api) -> None:
    from gateway.errors import StoreUnavailable

    async def down(username: str, password: str) -> object:
        raise StoreUnavailable(debug="disk full")

    api.bench.services.authenticator.authenticate = down  # type: ignore[method-assign,assignment]
    for _ in range(30):
        answer = await api.post("login", json=GOOD)
        assert (answer.status, answer.error) == (503, "temporarily_unavailable")
        assert int(answer.headers["Retry-After"]) >= 1
    assert b"disk" not in answer.body
    assert api.bench.named(Name.STORE_FAILED)


async def test_throttle_limits_come_from_the_policy() -> None:
    bench = ApiBench(ApiSetup(throttle=ThrottlePolicy(pair=Limit(2, 60.0))))
    await bench.add_user()
    async with serving(bench) as api:
        assert await guess_until_throttled(api) == 2
