"""Log-out in all its forms, the list of sessions, the account."""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator

import pytest
from support.api import PASSWORD, SAFARI, Api, ApiBench, serving

from gateway.credentials.user import User
from gateway.events import Name

CLEARED = "__Host-gw_refresh=; Max-Age=0;"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
NEW_PASSWORD = "a quite different password"


@pytest.fixture
async def bench() -> ApiBench:
    return ApiBench()


@pytest.fixture
async def ada(bench: ApiBench) -> User:
    return await bench.add_user()


@pytest.fixture
async def api(bench: ApiBench, ada: User) -> AsyncIterator[Api]:
    async with serving(bench) as api:
        yield api


async def works(api: Api, token: str) -> bool:
    answer = await api.get("me", bearer=token)
    assert answer.status in {200, 401}
    return answer.status == 200


class TestLogout:
    async def test_by_cookie_alone_and_twice(self, api: Api) -> None:
        login = await api.login()
        for _ in range(2):
            answer = await api.post("logout", cookie=login.cookie)
            assert answer.status == 204
            assert answer.body == b""
            assert answer.cookies[0].startswith(CLEARED)
        assert not await works(api, login.json["access_token"])
        assert (await api.post("refresh", cookie=login.cookie)).error == "invalid_grant"
        assert [event.fields["reason"] for event in api.bench.named(Name.SESSION_REVOKED)] == ["logout"]

    async def test_by_body_token(self, api: Api) -> None:
        login = await api.body_login()
        answer = await api.post("logout", json={"refresh_token": login["refresh_token"]})
        assert answer.status == 204
        assert not await works(api, login["access_token"])

    async def test_by_access_token(self, api: Api) -> None:
        login = await api.login()
        assert (await api.post("logout", bearer=login.json["access_token"])).status == 204
        assert not await works(api, login.json["access_token"])

    async def test_by_cookie_and_access_token(self, api: Api, ada: User) -> None:
        login = await api.login()
        answer = await api.post("logout", cookie=login.cookie, bearer=login.json["access_token"])
        assert answer.status == 204
        assert await api.bench.live(ada) == 0

    async def test_with_nothing(self, api: Api) -> None:
        answer = await api.post("logout")
        assert answer.status == 204
        assert answer.cookies[0].startswith(CLEARED)

    async def test_an_expired_access_token_ends_nothing(self, api: Api, ada: User) -> None:
        login = await api.login()
        api.bench.clock.advance(901)
        assert (await api.post("logout", bearer=login.json["access_token"])).status == 204
        assert await api.bench.live(ada) == 1
        assert (await api.post("refresh", cookie=login.cookie)).status == 200

    async def test_a_spent_refresh_token_ends_nothing(self, api: Api, ada: User) -> None:
        login = await api.login()
        newer = await api.post("refresh", cookie=login.cookie)
        assert (await api.post("logout", cookie=login.cookie)).status == 204
        assert await api.bench.live(ada) == 1
        assert await works(api, newer.json["access_token"])

    @pytest.mark.parametrize("token", ["", "gwr_x", "x" * 100, "gwr_" + "A" * 71])
    async def test_a_forged_token_ends_nothing(self, api: Api, ada: User, token: str) -> None:
        await api.login()
        assert (await api.post("logout", json={"refresh_token": token})).status == 204
        assert (await api.post("logout", bearer=token)).status == 204
        assert await api.bench.live(ada) == 1

    async def test_a_token_of_the_other_channel_ends_nothing(self, api: Api, ada: User) -> None:
        login = await api.login()
        token = login.cookie.partition("=")[2]
        assert (await api.post("logout", json={"refresh_token": token})).status == 204
        assert await api.bench.live(ada) == 1

    async def test_ends_only_its_own_session(self, api: Api, ada: User) -> None:
        first, second = await api.login(), await api.login()
        await api.post("logout", cookie=first.cookie)
        assert await api.bench.live(ada) == 1
        assert await works(api, second.json["access_token"])

    async def test_cookie_and_body_together(self, api: Api, ada: User) -> None:
        login = await api.login()
        answer = await api.post("logout", cookie=login.cookie, json={"refresh_token": "gwr_x"})
        assert (answer.status, answer.error) == (400, "invalid_request")
        assert await api.bench.live(ada) == 1

    async def test_by_get(self, api: Api, ada: User) -> None:
        login = await api.login()
        answer = await api.get("logout", cookie=login.cookie)
        assert (answer.status, answer.error) == (405, "method_not_allowed")
        assert answer.headers["Allow"] == "OPTIONS, POST"
        assert answer.cookies == ()
        assert await api.bench.live(ada) == 1

    async def test_cross_site(self, api: Api, ada: User) -> None:
        login = await api.login()
        answer = await api.post("logout", cookie=login.cookie, headers={"Origin": "https://evil.example"})
        assert answer.error == "cross_site_request"
        assert answer.cookies == ()
        assert await api.bench.live(ada) == 1


class TestLogoutAll:
    async def test_ends_every_session_of_the_user(self, api: Api, ada: User) -> None:
        await api.bench.add_user("eve")
        eve = await api.login("eve")
        logins = [await api.login(), await api.login(), await api.login()]
        answer = await api.post("logout-all", bearer=logins[0].json["access_token"])
        assert answer.status == 200
        assert answer.json == {"revoked": 3}
        assert answer.cookies[0].startswith(CLEARED)
        for login in logins:
            assert not await works(api, login.json["access_token"])
            assert (await api.post("refresh", cookie=login.cookie)).error == "invalid_grant"
        assert await works(api, eve.json["access_token"])
        assert {event.fields["reason"] for event in api.bench.named(Name.SESSION_REVOKED)} == {"logout_all"}

    async def test_the_next_login_lives(self, api: Api) -> None:
        login = await api.login()
        await api.post("logout-all", bearer=login.json["access_token"])
        assert await works(api, (await api.login()).json["access_token"])

    async def test_needs_a_token(self, api: Api) -> None:
        assert (await api.post("logout-all")).error == "missing_token"
        assert (await api.post("logout-all", cookie=(await api.login()).cookie)).error == "missing_token"


class TestRevoke:
    async def revoke(self, api: Api, token: str, **members: str) -> None:
        data = "&".join(f"{name}={value}" for name, value in {"token": token, **members}.items())
        answer = await api.post("revoke", data=data, headers=FORM)
        assert answer.status == 200
        assert answer.json == {}

    async def test_refresh_tokens_of_both_channels(self, api: Api, ada: User) -> None:
        await self.revoke(api, (await api.login()).cookie.partition("=")[2], token_type_hint="access_token")
        await self.revoke(api, (await api.body_login())["refresh_token"])
        assert await api.bench.live(ada) == 0

    async def test_access_token(self, api: Api, ada: User) -> None:
        login = await api.login()
        await self.revoke(api, login.json["access_token"])
        assert not await works(api, login.json["access_token"])
        await self.revoke(api, login.json["access_token"])
        assert await api.bench.live(ada) == 0

    async def test_what_ends_nothing(self, api: Api, ada: User) -> None:
        login = await api.login()
        await api.post("refresh", cookie=login.cookie)
        await self.revoke(api, login.cookie.partition("=")[2])
        for token in ("gwr_forged", "a.b.c", "%C3%A9", "x" * 5000, "+"):
            await self.revoke(api, token)
        api.bench.clock.advance(901)
        await self.revoke(api, login.json["access_token"])
        assert await api.bench.live(ada) == 1

    async def test_as_json(self, api: Api, ada: User) -> None:
        login = await api.body_login()
        assert (await api.post("revoke", json={"token": login["refresh_token"]})).status == 200
        assert await api.bench.live(ada) == 0

    @pytest.mark.parametrize("data", ["", "tok=x", "token=a&token=b", "token", "token=%FF", "&".join(["a=b"] * 40)])
    async def test_what_is_no_request(self, api: Api, data: str) -> None:
        answer = await api.post("revoke", data=data, headers=FORM)
        assert (answer.status, answer.error) == (400, "invalid_request")

    async def test_cross_site(self, api: Api, ada: User) -> None:
        login = await api.body_login()
        answer = await api.post(
            "revoke", data=f"token={login['refresh_token']}", headers=FORM | {"Sec-Fetch-Site": "cross-site"}
        )
        assert answer.error == "cross_site_request"
        assert await api.bench.live(ada) == 1


class TestSessions:
    async def test_list(self, api: Api) -> None:
        first = await api.login()
        api.bench.clock.advance(100)
        second = await api.login(headers={"User-Agent": SAFARI})
        answer = await api.get("sessions", bearer=first.json["access_token"])
        assert answer.status == 200
        newest, oldest = answer.json["sessions"]
        assert [newest["id"], oldest["id"]] == [second.json["session_id"], first.json["session_id"]]
        assert [newest["current"], oldest["current"]] == [False, True]
        assert oldest["device"] == "Firefox on Linux"
        assert newest["device"] == "Safari on iOS"
        assert newest["ip"] == "127.0.0.1"
        assert newest["location"] is None
        assert set(newest) == {
            "id", "current", "created_at", "last_used_at", "expires_at", "ip", "device", "location",
        }  # fmt: skip
        for name in ("created_at", "last_used_at", "expires_at"):
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", newest[name])
        assert oldest["created_at"] == "2026-09-21T14:13:20Z"
        assert oldest["expires_at"] == "2026-09-22T14:13:20Z"

    async def test_end_one(self, api: Api, ada: User) -> None:
        first, second = await api.login(), await api.login()
        path = f"sessions/{second.json['session_id']}"
        answer = await api.call("DELETE", path, bearer=first.json["access_token"])
        assert (answer.status, answer.body) == (204, b"")
        assert not await works(api, second.json["access_token"])
        assert await works(api, first.json["access_token"])
        assert [event.fields["reason"] for event in api.bench.named(Name.SESSION_REVOKED)] == ["user_revoked"]
        again = await api.call("DELETE", path, bearer=first.json["access_token"])
        assert (again.status, again.error) == (404, "not_found")

    async def test_end_the_own_one(self, api: Api) -> None:
        login = await api.login()
        token = login.json["access_token"]
        assert (await api.call("DELETE", f"sessions/{login.json['session_id']}", bearer=token)).status == 204
        assert not await works(api, token)

    async def test_of_others_unknown_and_odd(self, api: Api) -> None:
        await api.bench.add_user("eve")
        eve, ada = await api.login("eve"), await api.login()
        sid = eve.json["session_id"]
        for name in (
            sid,
            str(uuid.uuid4()),
            sid.upper(),
            "x",
            "%2e%2e",
            "a%2fb",
            "%00",
            f"{{{sid}}}",
            sid.replace("-", ""),
        ):
            answer = await api.call("DELETE", f"sessions/{name}", bearer=ada.json["access_token"])
            assert (answer.status, answer.error) == (404, "not_found")
        assert await works(api, eve.json["access_token"])

    async def test_cross_site(self, api: Api, ada: User) -> None:
        login = await api.login()
        answer = await api.call(
            "DELETE",
            f"sessions/{login.json['session_id']}",
            bearer=login.json["access_token"],
            headers={"Origin": "null"},
        )
        assert answer.error == "cross_site_request"
        assert await api.bench.live(ada) == 1

    async def test_the_callers_use_counts_as_a_receipt(self, api: Api) -> None:
        login = await api.login()
        newer = await api.post("refresh", cookie=login.cookie)
        api.bench.clock.advance(61)
        await api.get("sessions", bearer=newer.json["access_token"])
        assert (await api.post("refresh", cookie=login.cookie)).error == "refresh_superseded"


class TestAccount:
    async def test_me(self, api: Api, ada: User) -> None:
        answer = await api.get("me", bearer=(await api.login()).json["access_token"])
        assert answer.json == {
            "id": ada.user_id, "username": "ada", "email": "ada@example.com", "roles": ["user"],
        }  # fmt: skip

    async def test_change_password(self, api: Api, ada: User) -> None:
        here, there = await api.login(), await api.login()
        members = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
        answer = await api.post("password", json=members, bearer=here.json["access_token"])
        assert (answer.status, answer.body) == (204, b"")
        assert await works(api, here.json["access_token"])
        assert not await works(api, there.json["access_token"])
        assert (await api.post("refresh", cookie=there.cookie)).error == "invalid_grant"
        assert (await api.post("refresh", cookie=here.cookie)).status == 200
        old = await api.post("login", json={"username": "ada", "password": PASSWORD})
        assert old.error == "invalid_credentials"
        await api.login(password=NEW_PASSWORD)
        (changed,) = api.bench.named(Name.PASSWORD_CHANGED)
        assert (changed.user_id, changed.session_id) == (ada.user_id, here.json["session_id"])
        assert [event.fields["reason"] for event in api.bench.named(Name.SESSION_REVOKED)] == ["password_changed"]

    async def test_wrong_current_password_is_throttled(self, api: Api) -> None:
        token = (await api.login()).json["access_token"]
        members = {"current_password": "wrong", "new_password": NEW_PASSWORD}
        errors = [(await api.post("password", json=members, bearer=token)).error for _ in range(20)]
        assert errors[0] == "invalid_credentials"
        assert errors[-1] == "too_many_attempts"

    @pytest.mark.parametrize(
        "members",
        [
            {},
            {"current_password": PASSWORD},
            {"new_password": NEW_PASSWORD},
            {"current_password": PASSWORD, "new_password": "short"},
            {"current_password": PASSWORD, "new_password": "with a \0 in it"},
            {"current_password": PASSWORD, "new_password": 12345678},
            {"current_password": PASSWORD, "new_password": "x" * 2000},
        ],
    )
    async def test_unfit_requests(self, api: Api, members: dict[str, object]) -> None:
        token = (await api.login()).json["access_token"]
        answer = await api.post("password", json=members, bearer=token)
        assert (answer.status, answer.error) == (400, "invalid_request")
        assert not api.bench.named(Name.LOGIN_FAILED)

    async def test_forms_are_not_taken(self, api: Api) -> None:
        token = (await api.login()).json["access_token"]
        answer = await api.post(
            "password", data="a=b", bearer=token, headers={"Content-Type": "application/x-www-form-urlencoded"}
        )
        assert answer.error == "unsupported_media_type"


CALLS = [
    ("GET", "me"),
    ("GET", "sessions"),
    ("POST", "logout-all"),
    ("POST", "password"),
    ("DELETE", "sessions/0e1f4c56-2f0a-4f7e-8a54-6d2f8f1f9b10"),
]


class TestBearer:
    @pytest.mark.parametrize(("method", "path"), CALLS)
    async def test_every_call_needs_a_good_token(self, api: Api, method: str, path: str) -> None:
        login = await api.login()
        token = login.json["access_token"]
        missing = await api.call(method, path)
        assert (missing.status, missing.error) == (401, "missing_token")
        assert missing.headers["WWW-Authenticate"] == 'Bearer realm="gateway"'
        head, body, signature = token.split(".")
        odd = ["x", f"{head}.{body}.{signature[:-4]}AAAA", "a" * 5000, f"{token}, Bearer {token}", token + "="]
        api.bench.clock.advance(901)
        for bad in [*odd, token]:
            answer = await api.call(method, path, bearer=bad)
            assert (answer.status, answer.error) == (401, "invalid_token")
            assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]

    async def test_two_headers(self, api: Api) -> None:
        token = (await api.login()).json["access_token"].encode()
        line = b"Authorization: Bearer " + token + b"\r\n"
        answer = await api.raw(b"GET /auth/me HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + line * 2 + b"\r\n")
        assert answer.startswith(b"HTTP/1.1 400")
        assert b"invalid_request" in answer

    async def test_token_in_two_places(self, api: Api) -> None:
        token = (await api.login()).json["access_token"]
        assert (await api.get(f"me?access_token={token}", bearer=token)).error == "invalid_request"
        assert (await api.get(f"me?access_token={token}")).error == "missing_token"
