"""What operators can do over HTTP, and what each call leaves behind."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from support.admin import AdminBench, administering
from support.api import PASSWORD

from gateway.errors import InvalidCredentials, StoreUnavailable
from gateway.events import Name

NOBODY = "9b2f5a34-6f6c-4d53-9d56-0a5d4f1c9e10"


async def test_sessions_of_all_and_of_one_user_come_in_pages() -> None:
    async with administering(AdminBench()) as admin:
        ada, bob = await admin.bench.add_user("Ada"), await admin.bench.add_user("bob")
        adas = sorted([(await admin.bench.log_in(ada)).session.sid for _ in range(5)])
        bobs = [(await admin.bench.log_in(bob)).session.sid for _ in range(2)]
        for path, expected in (
            ("/admin/sessions?", sorted(adas + bobs)),
            (f"/admin/sessions?user={ada.user_id}&", adas),
            ("/admin/sessions?user=ADA&", adas),
            (f"/admin/sessions?user={NOBODY}&", []),
        ):
            for limit in (1, 2, 5, 7, 1000):
                pages = await admin.pages(path, "sessions", limit)
                assert [session["id"] for page in pages for session in page] == expected
                assert all(len(page) == limit for page in pages[:-1])
        assert (await admin.call("GET", "/admin/sessions?user=nobody")).status == 404


async def test_a_session_is_shown_ended_and_shown_again() -> None:
    async with administering(AdminBench()) as admin:
        user = await admin.bench.add_user()
        issued = await admin.bench.log_in(user)
        path = f"/admin/sessions/{issued.session.sid}"
        shown = await admin.get(path)
        assert (shown["user_id"], shown["live"], shown["ended_at"], shown["end_reason"]) == (
            user.user_id,
            True,
            None,
            None,
        )
        ended = await admin.call("DELETE", path, headers={"User-Agent": "ops/1"})
        assert (ended.status, ended.body) == (204, b"")
        (event,) = admin.bench.named(Name.SESSION_REVOKED)
        assert (event.session_id, event.user_id, event.fields["reason"]) == (issued.session.sid, user.user_id, "admin")
        assert event.request_id == ended.headers["X-Request-Id"]
        assert event.address == "127.0.0.1"
        assert admin.bench.index.denial(admin.bench.verifier.verify(issued.access_token.encode())) is not None
        shown = await admin.get(path)
        assert (shown["live"], shown["end_reason"]) == (False, "admin")
        assert shown["ended_at"] is not None
        assert (await admin.call("DELETE", path)).status == 404
        assert (await admin.get("/admin/sessions"))["sessions"] == []


@pytest.mark.parametrize("sid", [NOBODY, NOBODY.upper(), "x", "%00", "%F0", "a" * 2000, "%E2%80%AE"])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_what_is_no_session_is_not_found(method: str, sid: str) -> None:
    async with administering(AdminBench()) as admin:
        answer = await admin.call(method, f"/admin/sessions/{sid}")
        assert (answer.status, answer.error) == (404, "not_found")


async def test_users_come_in_pages_by_name_and_one_by_name() -> None:
    async with administering(AdminBench()) as admin:
        names = ["a&b=c", "B c", "d#e", "é", "ß", "zoë"]
        for name in names:
            await admin.bench.users.add(name, None)
        found, after = [], ""
        for _ in names:
            page = await admin.get(f"/admin/users?limit=1{after}")
            found += [user["username"] for user in page["users"]]
            after = f"&after={quote(page['next'])}" if page["next"] is not None else ""
        assert page["next"] is None
        assert sorted(found) == sorted(names)
        (one,) = (await admin.get(f"/admin/users?username={quote('b C')}"))["users"]
        assert one["username"] == "B c"
        assert (await admin.get("/admin/users?username=nobody"))["users"] == []


async def test_a_user_is_added_changed_and_removed() -> None:
    async with administering(AdminBench()) as admin:
        members = {"username": "Ada", "password": PASSWORD, "email": "ada@example.com", "roles": ["a", "b"]}
        added = await admin.call("POST", "/admin/users", members)
        assert added.status == 201
        user_id = added.json["id"]
        path = added.headers["Location"]
        assert path == f"/admin/users/{user_id}"
        assert added.json["active"] is added.json["has_password"] is True
        assert await admin.get(path) == added.json
        user = await admin.bench.services.authenticator.authenticate("ada", PASSWORD)
        again = await admin.call("POST", "/admin/users", {"username": "ADA"})
        assert (again.status, again.error) == (409, "conflict")

        issued = await admin.bench.log_in(user)
        changed = await admin.call("PATCH", path, {"roles": ["c"], "email": None})
        assert (changed.status, changed.json["roles"], changed.json["email"]) == (200, ["c"], None)
        claims = admin.bench.verifier.verify(issued.access_token.encode())
        assert admin.bench.index.denial(claims) is not None
        assert await admin.bench.live(user) == 1

        changed = await admin.call("PATCH", path, {"active": False, "email": "new@example.com"})
        assert (changed.json["active"], changed.json["email"]) == (False, "new@example.com")
        assert await admin.bench.live(user) == 0
        (event,) = admin.bench.named(Name.SESSION_REVOKED)
        assert (event.fields["reason"], event.request_id) == ("user_disabled", changed.headers["X-Request-Id"])
        assert (await admin.call("PATCH", path, {"active": True})).json["active"] is True

        await admin.bench.log_in(await admin.bench.users.get(user_id))
        assert (await admin.call("DELETE", path)).status == 204
        assert admin.bench.named(Name.SESSION_REVOKED)[-1].fields["reason"] == "user_removed"
        for method, body in (("GET", None), ("DELETE", None), ("PATCH", {"active": True})):
            assert (await admin.call(method, path, body)).status == 404


async def test_a_change_that_is_wrong_in_part_changes_nothing() -> None:
    async with administering(AdminBench()) as admin:
        user = await admin.bench.add_user()
        for members in (
            {"active": False, "roles": ["a b"]},
            {"active": False, "email": "no address"},
            {"active": "no", "roles": ["c"]},
            {"roles": "c", "active": False},
            {"roles": [1], "active": False},
            {"email": 1, "active": False},
            {},
            {"active": None},
            {"unknown": True},
        ):
            answer = await admin.call("PATCH", f"/admin/users/{user.user_id}", members)
            assert (answer.status, answer.error) == (400, "invalid_request"), members
        assert await admin.bench.users.get(user.user_id) == user


async def test_a_password_is_set_and_sessions_end() -> None:
    async with administering(AdminBench()) as admin:
        user = await admin.bench.add_user()
        await admin.bench.log_in(user)
        path = f"/admin/users/{user.user_id}/password"
        assert (await admin.call("PUT", path, {"password": "short"})).status == 400
        assert await admin.bench.live(user) == 1
        answer = await admin.call("PUT", path, {"password": "another long one"})
        assert answer.status == 204
        with pytest.raises(InvalidCredentials):
            await admin.bench.services.authenticator.authenticate("ada", PASSWORD)
        await admin.bench.services.authenticator.authenticate("ada", "another long one")
        names = [event.name for event in admin.bench.events.events]
        assert names.index(Name.PASSWORD_CHANGED) < names.index(Name.SESSION_REVOKED)
        (event,) = admin.bench.named(Name.PASSWORD_CHANGED)
        assert (event.user_id, event.request_id) == (user.user_id, answer.headers["X-Request-Id"])
        assert (await admin.call("PUT", f"/admin/users/{NOBODY}/password", {"password": "long enough"})).status == 404


async def test_all_sessions_of_a_user_end() -> None:
    async with administering(AdminBench()) as admin:
        ada, bob = await admin.bench.add_user("ada"), await admin.bench.add_user("bob")
        for user in (ada, ada, bob):
            await admin.bench.log_in(user)
        answer = await admin.call("DELETE", f"/admin/users/{ada.user_id}/sessions")
        assert (answer.status, answer.json) == (200, {"revoked": 2})
        assert (await admin.bench.live(ada), await admin.bench.live(bob)) == (0, 1)
        assert [event.fields["reason"] for event in admin.bench.named(Name.SESSION_REVOKED)] == ["admin", "admin"]
        assert (await admin.call("DELETE", f"/admin/users/{NOBODY}/sessions")).status == 404


async def test_keys_are_listed_and_rotated() -> None:
    async with administering(AdminBench()) as admin:
        (first,) = (await admin.get("/admin/keys"))["keys"]
        assert (first["state"], first["algorithm"]) == ("signing", "EdDSA")
        made = await admin.call("POST", "/admin/keys/rotate")
        assert (made.status, made.json["state"]) == (200, "published")
        assert [key["kid"] for key in (await admin.get("/admin/keys"))["keys"]] == [first["kid"], made.json["kid"]]
        last = await admin.call("POST", "/admin/keys/rotate", {"withdraw": True})
        assert [key["kid"] for key in (await admin.get("/admin/keys"))["keys"]] == [last.json["kid"]]
        assert [event.fields["reason"] for event in admin.bench.named(Name.KEYS_ROTATED)] == [
            "first",
            "command",
            "command",
        ]
        assert (await admin.call("POST", "/admin/keys/rotate", {"soon": 1})).status == 400


async def test_events_by_kind_user_and_time_in_pages() -> None:
    async with administering(AdminBench()) as admin:
        ada, bob = await admin.bench.add_user("ada"), await admin.bench.add_user("bob")
        for user in (ada, bob, ada):
            await admin.bench.log_in(user)
        await admin.call("DELETE", f"/admin/users/{ada.user_id}/sessions")
        await admin.bench.record()

        async def found(query: str) -> list[tuple[str, str]]:
            pages = await admin.pages(f"/admin/events?{query}", "events", 2)
            numbers = [event["seq"] for page in pages for event in page]
            assert numbers == sorted(set(numbers))
            return [(event["event"], event["user_id"]) for page in pages for event in page if "user_id" in event]

        logins = [("login.succeeded", user.user_id) for user in (ada, bob, ada)]
        ends = [("session.revoked", ada.user_id)] * 2
        assert await found("event=login.succeeded&") == logins
        assert await found("event=login.succeeded&event=session.revoked&") == logins + ends
        assert await found("user=bob&") == [logins[1]]
        assert await found(f"user={ada.user_id}&event=session.revoked&") == ends
        await admin.call("DELETE", f"/admin/users/{ada.user_id}")
        assert await found(f"user={ada.user_id}&event=session.revoked&") == ends
        assert await found("since=2001-01-01T00:00:00Z&") == logins + ends
        assert await found("since=2001-01-01t00:00:00.5%2B02:00&") == logins + ends
        assert await found("since=2999-01-01T00:00:00Z&") == []


@pytest.mark.parametrize(
    "path",
    [
        *(f"/admin/sessions?{query}" for query in ("after=x", "usr=ada", "user=a&user=b", "user=%00", "limit=0")),
        *(f"/admin/users?limit={limit}" for limit in ("0", "1001", "-1", "1.0", "%D9%A1", "", "1" * 40, "0x1")),
        *(f"/admin/users?{query}" for query in ("after=%00", "after=" + "a" * 600, "name=x")),
        *(f"/admin/events?since={since}" for since in ("yesterday", "2024-01-01", "2024-01-01T00:00:00", "1700000000")),
        *(f"/admin/events?{query}" for query in ("event=nothing", "after=-1", "since=2024-13-01T00:00:00Z", "after=x")),
        "/admin/keys?x=1",
        f"/admin/users/{NOBODY}?x=1",
    ],
)
async def test_a_query_that_is_not_understood_is_refused(path: str) -> None:
    async with administering(AdminBench()) as admin:
        answer = await admin.call("GET", path)
        assert (answer.status, answer.error) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("data", "kind", "status", "error"),
    [
        (b'{"username": "a", "username": "b"}', "application/json", 400, "invalid_request"),
        (b'{"username": 1}', "application/json", 400, "invalid_request"),
        (b'{"username": "a", "roles": {}}', "application/json", 400, "invalid_request"),
        (b'{"username": "a\\ud800"}', "application/json", 400, "invalid_request"),
        (b'{"username": "a\\u0000"}', "application/json", 400, "invalid_request"),
        (b"[]", "application/json", 400, "invalid_request"),
        (b"", "application/json", 400, "invalid_request"),
        (b"username=a", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
        (b'{"username": "a"}', "text/plain", 415, "unsupported_media_type"),
        (b'{"username": "%s"}' % (b"a" * 16384), "application/json", 413, "payload_too_large"),
    ],
)
async def test_bodies_are_read_as_strictly_as_everywhere(data: bytes, kind: str, status: int, error: str) -> None:
    async with administering(AdminBench()) as admin:
        answer = await admin.call("POST", "/admin/users", data=data, headers={"Content-Type": kind})
        assert (answer.status, answer.error) == (status, error)
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.headers["Cache-Control"] == "no-store"
        assert [user async for user in admin.bench.users.list_users()] == []


async def test_paths_and_methods_that_are_not_there() -> None:
    async with administering(AdminBench()) as admin:
        answer = await admin.call("GET", "/admin/nothing")
        assert (answer.status, answer.error) == (404, "not_found")
        answer = await admin.call("PUT", "/admin/users")
        assert (answer.status, answer.error) == (405, "method_not_allowed")
        assert answer.headers["Allow"] == "GET, HEAD, POST"


async def test_a_store_that_is_away_is_503_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object, **__: object) -> None:
        raise StoreUnavailable(debug="away")

    async with administering(AdminBench()) as admin:
        user = await admin.bench.add_user()
        monkeypatch.setattr(admin.bench.stores.users, "set_active", away)
        answer = await admin.call("PATCH", f"/admin/users/{user.user_id}", {"active": False, "roles": []})
        assert (answer.status, answer.error) == (503, "temporarily_unavailable")
        assert "Retry-After" in answer.headers
        assert await admin.bench.users.get(user.user_id) == user
