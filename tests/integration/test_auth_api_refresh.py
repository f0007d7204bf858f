"""POST /auth/refresh."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from support.api import PASSWORD, SAFARI, Answer, Api, ApiBench, ApiSetup, serving
from support.tokens import master_keys

from gateway.errors import StoreBusy
from gateway.events import Name
from gateway.sessions.policy import RotationPolicy
from gateway.tokens.refresh_token import RefreshTokens

PREFIXED = "__Host-gw_refresh="


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    bench = ApiBench()
    await bench.add_user()
    async with serving(bench) as api:
        yield api


async def refresh(api: Api, cookie: str, **options: object) -> Answer:
    return await api.post("refresh", cookie=cookie, **options)


async def use(api: Api, answer: Answer) -> None:
    """Use an access token late enough for a receipt."""
    api.bench.clock.advance(61)
    assert (await api.get("me", bearer=answer.json["access_token"])).status == 200


async def test_rotation_by_cookie(api: Api) -> None:
    login = await api.login()
    answer = await refresh(api, login.cookie)
    assert answer.status == 200
    assert set(answer.json) == {"access_token", "token_type", "expires_in", "session_id", "user"}
    assert answer.json["session_id"] == login.json["session_id"]
    assert answer.cookie.startswith(PREFIXED)
    assert answer.cookie != login.cookie
    assert (await refresh(api, answer.cookie)).status == 200


async def test_rotation_by_body(api: Api) -> None:
    login = await api.body_login()
    answer = await api.post("refresh", json={"refresh_token": login["refresh_token"]})
    assert answer.status == 200
    assert answer.cookies == ()
    assert answer.json["refresh_token"] != login["refresh_token"]
    assert answer.json["refresh_expires_in"] == 86400


async def test_race_by_cookie_gets_an_access_token_and_no_cookie(api: Api) -> None:
    login = await api.login()
    await refresh(api, login.cookie)
    loser = await refresh(api, login.cookie)
    assert loser.status == 200
    assert loser.cookies == ()
    assert "refresh_token" not in loser.json
    assert loser.json["expires_in"] <= 60
    assert (await api.get("me", bearer=loser.json["access_token"])).status == 200


async def test_race_by_body_gets_the_same_successor(api: Api) -> None:
    token = (await api.body_login())["refresh_token"]
    first = await api.post("refresh", json={"refresh_token": token})
    second = await api.post("refresh", json={"refresh_token": token})
    assert first.json["refresh_token"] == second.json["refresh_token"]


async def test_retry_after_a_lost_answer_gets_the_same_cookie(api: Api) -> None:
    login = await api.login()
    lost = await refresh(api, login.cookie)
    api.bench.clock.advance(21)
    again = await refresh(api, login.cookie)
    assert again.cookie == lost.cookie
    stale = await api.get("me", bearer=lost.json["access_token"])
    assert (stale.status, stale.error) == (401, "invalid_token")
    assert (await api.get("me", bearer=again.json["access_token"])).status == 200
    assert api.bench.named(Name.SESSION_SUSPICIOUS)


async def test_replay_after_the_receipt_is_theft(api: Api) -> None:
    login = await api.login()
    other = await api.login()
    newer = await refresh(api, login.cookie)
    await use(api, newer)
    newest = await refresh(api, newer.cookie)
    api.bench.clock.advance(200)
    replay = await refresh(api, login.cookie)
    assert (replay.status, replay.error) == (401, "refresh_token_reused")
    assert replay.cookies == ()
    assert api.bench.named(Name.SESSION_REFRESH_REUSED)
    for answer in (newest, other):
        assert (await api.get("me", bearer=answer.json["access_token"])).error == "invalid_token"
        dead = await refresh(api, answer.cookie)
        assert (dead.status, dead.error) == (401, "invalid_grant")


async def test_superseded_asks_to_read_the_jar_again(api: Api) -> None:
    login = await api.login()
    newer = await refresh(api, login.cookie)
    await use(api, newer)
    answer = await refresh(api, login.cookie)
    assert (answer.status, answer.error) == (409, "refresh_superseded")
    assert answer.cookies == ()
    assert (await refresh(api, newer.cookie)).status == 200


async def test_another_device_is_challenged(api: Api) -> None:
    login = await api.login()
    answer = await refresh(api, login.cookie, headers={"User-Agent": SAFARI})
    assert (answer.status, answer.error) == (403, "suspicious_activity")
    assert answer.cookies == ()
    assert (await refresh(api, login.cookie)).status == 200


async def test_an_old_login_must_prove_itself_again() -> None:
    bench = ApiBench(ApiSetup(policy=RotationPolicy(reauth_after=3600.0)))
    await bench.add_user()
    async with serving(bench) as api:
        login = await api.login()
        bench.clock.advance(3601)
        answer = await refresh(api, login.cookie)
        assert (answer.status, answer.error) == (401, "insufficient_user_authentication")
        assert 'error="insufficient_user_authentication"' in answer.headers["WWW-Authenticate"]
        assert 'max_age="3600"' in answer.headers["WWW-Authenticate"]


async def test_a_busy_store_logs_nobody_out(api: Api) -> None:
    login = await api.login()
    rotate = api.bench.stores.sessions.rotate

    async def busy(attempt: object) -> object:
        raise StoreBusy(debug="locked")

    api.bench.stores.sessions.rotate = busy  # type: ignore[method-assign,assignment]
    answer = await refresh(api, login.cookie)
    assert (answer.status, answer.error) == (503, "temporarily_unavailable")
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.cookies == ()
    api.bench.stores.sessions.rotate = rotate  # type: ignore[method-assign]
    assert (await refresh(api, login.cookie)).status == 200


async def test_no_token_and_odd_tokens(api: Api) -> None:
    for answer in (
        await api.post("refresh"),
        await api.post("refresh", json={}),
        await api.post("refresh", json={"refresh_token": None}),
        await api.post("refresh", json={"refresh_token": "gwr_forged"}),
        await api.post("refresh", json={"refresh_token": ""}),
        await refresh(api, PREFIXED),
        await refresh(api, PREFIXED + "gwr_" + "A" * 71),
    ):
        assert (answer.status, answer.error) == (401, "invalid_grant")
        assert answer.cookies == ()


async def test_cookie_and_body_together(api: Api) -> None:
    login = await api.login()
    answer = await refresh(api, login.cookie, json={"refresh_token": "gwr_x"})
    assert (answer.status, answer.error) == (400, "invalid_request")
    assert (await refresh(api, login.cookie)).status == 200


async def test_a_token_goes_back_only_the_way_it_came(api: Api) -> None:
    cookie = (await api.login()).cookie.removeprefix(PREFIXED)
    body = (await api.body_login())["refresh_token"]
    for answer in (
        await api.post("refresh", json={"refresh_token": cookie}),
        await refresh(api, PREFIXED + body),
    ):
        assert answer.status in {401, 403}
        assert answer.cookies == ()
    assert (await refresh(api, PREFIXED + cookie)).status == 200


async def test_users_who_lost_their_rights(api: Api) -> None:
    for end in ("disable", "remove", "set_password"):
        user = await api.bench.add_user(end)
        login = await api.login(end)
        arguments = ("another long password",) if end == "set_password" else ()
        ended = await getattr(api.bench.users, end)(user.user_id, *arguments)
        api.bench.sessions.announce(ended, None)
        answer = await refresh(api, login.cookie)
        assert (answer.status, answer.error) == (401, "invalid_grant")
        assert (await api.get("me", bearer=login.json["access_token"])).error == "invalid_token"


@pytest.mark.parametrize("seconds", [86401, 31 * 86400])
async def test_expired(api: Api, seconds: int) -> None:
    login = await api.login()
    api.bench.clock.advance(seconds)
    assert (await refresh(api, login.cookie)).error == "invalid_grant"


async def test_forged_tokens_are_throttled_and_good_ones_never(api: Api) -> None:
    login = await api.login()
    statuses = [(await api.post("refresh", json={"refresh_token": f"gwr_{n}"})).status for n in range(60)]
    assert statuses[0] == 401
    assert statuses[-1] == 429
    assert (await refresh(api, login.cookie)).status == 200


class TestLateAnswers:
    """An answer that leaves later than W/2 after the rotation."""

    async def late(self, api: Api, cookie: str, seconds: float) -> Answer:
        rotate = api.bench.stores.sessions.rotate

        async def slow(attempt: object) -> object:
            rotation = await rotate(attempt)  # type: ignore[arg-type]
            api.bench.clock.advance(seconds)
            return rotation

        api.bench.stores.sessions.rotate = slow  # type: ignore[method-assign,assignment]
        try:
            return await refresh(api, cookie)
        finally:
            api.bench.stores.sessions.rotate = rotate  # type: ignore[method-assign]

    async def test_sets_the_cookie_up_to_the_edge(self, api: Api) -> None:
        login = await api.login()
        assert (await self.late(api, login.cookie, 10.0)).cookies

    async def test_sets_no_cookie_and_proves_nothing(self, api: Api) -> None:
        login = await api.login()
        answer = await self.late(api, login.cookie, 10.1)
        assert answer.status == 200
        assert answer.cookies == ()
        assert answer.json["expires_in"] <= 60
        token = answer.json["access_token"]
        assert (await api.get("me", bearer=token)).status == 200
        api.bench.clock.advance(50)
        await api.get("me", bearer=token)
        # The jar still holds the old token: using the access token must not have turned it into a stolen one.
        api.bench.clock.advance(1000)
        again = await refresh(api, login.cookie)
        assert again.status == 200
        assert again.cookies

    async def test_body_clients_keep_the_newest_by_themselves(self, api: Api) -> None:
        login = await api.body_login()
        rotate = api.bench.stores.sessions.rotate

        async def slow(attempt: object) -> object:
            rotation = await rotate(attempt)  # type: ignore[arg-type]
            api.bench.clock.advance(15)
            return rotation

        api.bench.stores.sessions.rotate = slow  # type: ignore[method-assign,assignment]
        answer = await api.post("refresh", json={"refresh_token": login["refresh_token"]})
        assert answer.json["refresh_token"].startswith("gwr_")

    async def test_without_a_window_nothing_newer_can_be_out(self) -> None:
        policy = RotationPolicy(in_flight_window=0.0)
        from gateway.auth_api.services import ApiLimits

        bench = ApiBench(ApiSetup(policy=policy, limits=ApiLimits(in_flight_window=0.0)))
        await bench.add_user()
        async with serving(bench) as api:
            login = await api.login()
            assert (await self.late(api, login.cookie, 15.0)).cookies


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "null", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://127.0.0.1:8081"},
    ],
)
async def test_foreign_pages_are_refused(api: Api, headers: dict[str, str]) -> None:
    login = await api.login()
    answer = await refresh(api, login.cookie, headers=headers)
    assert (answer.status, answer.error) == (403, "cross_site_request")
    assert answer.cookies == ()
    form = await refresh(
        api, login.cookie, data="a=b", headers={"Content-Type": "application/x-www-form-urlencoded"} | headers
    )
    assert form.status == 403
    assert (await refresh(api, login.cookie)).status == 200
    assert len(api.bench.named(Name.SESSION_REFRESHED)) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://127.0.0.1:8080"},
        {"Origin": "http://127.0.0.1:8080", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ],
)
async def test_own_pages_pass(api: Api, headers: dict[str, str]) -> None:
    login = await api.login()
    assert (await refresh(api, login.cookie, headers=headers)).status == 200


async def test_two_cookies_are_no_cookie(api: Api) -> None:
    login = await api.login()
    for cookie in (f"{login.cookie}; {login.cookie}", f"{login.cookie}; {PREFIXED}x", f"{PREFIXED}x; {login.cookie}"):
        assert (await refresh(api, cookie)).error == "invalid_grant"
    assert (await refresh(api, f"a=1; {login.cookie}; b=2")).status == 200


@pytest.mark.parametrize("space", ["\u2000", "\u00a0", "\u3000"])
async def test_a_look_alike_name_neither_passes_nor_overrides(api: Api, space: str) -> None:
    login = await api.login()
    victim = await api.login()
    head = (
        b"POST /auth/refresh HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\nUser-Agent: "
        b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\nCookie: "
    )
    alone = await api.raw(head + space.encode() + login.cookie.encode() + b"\r\n\r\n")
    assert alone.startswith(b"HTTP/1.1 401")
    assert b"invalid_grant" in alone
    both = await api.raw(head + victim.cookie.encode() + b"; " + space.encode() + login.cookie.encode() + b"\r\n\r\n")
    assert both.startswith(b"HTTP/1.1 200")
    assert victim.json["session_id"].encode() in both


async def test_password_is_never_needed_to_refresh_nor_told(api: Api) -> None:
    login = await api.login()
    answer = await refresh(api, login.cookie)
    assert PASSWORD.encode() not in answer.body


async def test_a_withdrawn_master_key_is_dead_and_not_a_forgery(api: Api) -> None:
    newer = RefreshTokens(master_keys(1, 2), b"i" * 16)
    login = await api.body_login()
    api.bench.sessions._refresher._tokens = RefreshTokens(master_keys(2), b"i" * 16)
    for _ in range(60):
        answer = await api.post("refresh", json={"refresh_token": login["refresh_token"]})
        assert (answer.status, answer.error) == (401, "invalid_grant")
    rejected = api.bench.named(Name.SESSION_REFRESH_REJECTED)
    assert {event.fields["outcome"] for event in rejected} == {"dead"}
    api.bench.sessions._refresher._tokens = newer
    assert (await api.post("refresh", json={"refresh_token": login["refresh_token"]})).status == 200
