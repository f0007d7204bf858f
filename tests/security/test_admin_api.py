"""The admin API answers nobody but the holder of its token, and no browser."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from support.admin import TOKEN, AdminBench, administering

from gateway.admin_api import admission
from gateway.admin_api.app import openapi_document

SOME_ID = "9b2f5a34-6f6c-4d53-9d56-0a5d4f1c9e10"
OPERATIONS = [
    (method.upper(), path.replace("{sid}", SOME_ID).replace("{id}", SOME_ID))
    for path, item in openapi_document()["paths"].items()
    for method in item
]
EVERYWHERE = [*OPERATIONS, ("GET", "/admin/nothing"), ("GET", "/admin/"), ("TRACE", "/admin/users")]
WRONG = [
    "another-admin-token-0123456789-abcdef",
    TOKEN[:-1],
    TOKEN + "0",
    TOKEN.upper(),
    "a b",
    "",
    "x" * 5000,
]


def refused(answer: Any, status: int, error: str) -> None:
    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/problem+json")
    assert answer.error == error
    assert answer.json["request_id"] == answer.headers["X-Request-Id"]
    assert answer.headers["Cache-Control"] == "no-store"


async def test_every_path_needs_the_token() -> None:
    async with administering(AdminBench()) as admin:
        user = await admin.bench.add_user()
        session = (await admin.bench.log_in(user)).session
        paths = [(method, path.replace(SOME_ID, user.user_id)) for method, path in EVERYWHERE]
        for method, path in [*EVERYWHERE, *paths, ("DELETE", f"/admin/sessions/{session.sid}")]:
            answer = await admin.call(method, path, token=None)
            refused(answer, 401, "missing_token")
            assert answer.headers["WWW-Authenticate"] == 'Bearer realm="gateway"'
            refused(await admin.call(method, path, token=WRONG[0]), 401, "invalid_token")
        assert await admin.bench.users.get(user.user_id) == user
        assert await admin.bench.live(user) == 1


@pytest.mark.parametrize("token", WRONG, ids=range(len(WRONG)))
async def test_a_wrong_token_opens_nothing(token: str) -> None:
    async with administering(AdminBench()) as admin:
        answer = await admin.call("GET", "/admin/users", token=token)
        refused(answer, 401, "invalid_token")
        assert answer.headers["WWW-Authenticate"].startswith('Bearer realm="gateway", error="invalid_token"')


async def test_the_token_is_taken_from_one_authorization_header_only() -> None:
    async with administering(AdminBench()) as admin:
        for path in (f"/admin/users?access_token={TOKEN}", f"/admin/users?token={TOKEN}"):
            refused(await admin.call("GET", path, token=None), 401, "missing_token")
            refused(await admin.call("GET", path), 400, "invalid_request")
        refused(
            await admin.call("GET", "/admin/users", headers={"Authorization": f"Basic {TOKEN}"}), 401, "missing_token"
        )
        refused(
            await admin.call("GET", "/admin/users", token=None, headers={"Cookie": f"token={TOKEN}"}),
            401,
            "missing_token",
        )
        async with admin.client.get(
            "/admin/users", headers=[("Authorization", f"Bearer {TOKEN}"), ("Authorization", "Bearer x")]
        ) as answer:
            assert answer.status == 400


async def test_an_access_token_of_a_user_with_any_role_is_none() -> None:
    async with administering(AdminBench()) as admin:
        user = await admin.bench.add_user(roles=("admin",))
        access = (await admin.bench.log_in(user)).access_token
        refused(await admin.call("GET", "/admin/users", token=access), 401, "invalid_token")


async def test_the_comparison_takes_the_same_time_whatever_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    real = admission.hmac.compare_digest

    def noting(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return real(one, other)

    monkeypatch.setattr(admission.hmac, "compare_digest", noting)
    assert admission.same_token(b"a" * 32, b"a" * 32)
    assert not admission.same_token(b"a", b"a" * 32)
    assert not admission.same_token(b"", b"a" * 32)
    async with administering(AdminBench()) as admin:
        assert (await admin.call("GET", "/admin/users")).status == 200
        assert (await admin.call("GET", "/admin/users", token="a")).status == 401
    assert len(compared) == 5
    assert {(len(one), len(other)) for one, other in compared} == {(32, 32)}


@pytest.mark.parametrize("origin", ["https://evil.example", "http://127.0.0.1:9090", "null", ""])
async def test_a_request_with_an_origin_is_refused_even_with_the_token(origin: str) -> None:
    async with administering(AdminBench()) as admin:
        for method, path in EVERYWHERE:
            answer = await admin.call(method, path, headers={"Origin": origin})
            refused(answer, 403, "cross_site_request")
            assert not [name for name in answer.headers if name.lower().startswith("access-control-")]
        preflight = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        refused(await admin.call("OPTIONS", "/admin/users", token=None, headers=preflight), 403, "cross_site_request")


async def test_without_a_token_in_the_settings_there_is_no_api_but_there_are_probes() -> None:
    async with administering(AdminBench(token=None)) as admin:
        for method, path in EVERYWHERE:
            for token in (None, "", TOKEN, "None"):
                answer = await admin.call(method, path, token=token)
                refused(answer, 404, "not_found")
                assert "server.admin_token" in answer.json["detail"]
        for path in ("/livez", "/readyz", "/metrics"):
            assert (await admin.call("GET", path, token=None)).status == 200


async def test_probes_and_metrics_need_no_token() -> None:
    async with administering(AdminBench()) as admin:
        for path in ("/livez", "/readyz", "/metrics"):
            assert (await admin.call("GET", path, token=None)).status == 200


async def test_another_token_is_in_force_from_the_next_request_on() -> None:
    other = "the-next-admin-token-0123456789-abc"
    async with administering(AdminBench()) as admin:
        assert (await admin.call("GET", "/admin/users")).status == 200
        admin.bench.change(token=other)
        refused(await admin.call("GET", "/admin/users"), 401, "invalid_token")
        assert (await admin.call("GET", "/admin/users", token=other)).status == 200
        admin.bench.change(token=None)
        refused(await admin.call("GET", "/admin/users", token=other), 404, "not_found")


async def test_the_token_is_in_no_log_line_event_or_answer(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    async with administering(AdminBench()) as admin:
        user = await admin.bench.add_user()

        async def broken(*_: object, **__: object) -> None:
            raise RuntimeError(f"with {TOKEN} in its text")

        answers = [await admin.call(method, path) for method, path in EVERYWHERE]
        answers += [await admin.call("GET", f"/admin/users?after={TOKEN}", token=WRONG[0])]
        answers += [await admin.call("PUT", f"/admin/users/{user.user_id}/password", {"password": "long enough"})]
        monkeypatch.setattr(admin.bench.stores.users, "list_users", broken)
        failed = await admin.call("GET", "/admin/users")
        refused(failed, 500, "server_error")
        texts = [repr(event) for event in admin.bench.events.events] + [caplog.text]
        texts += [f"{answer.headers} {answer.body!r}" for answer in (*answers, failed)]
    assert len(admin.bench.events.events) >= 2
    assert [text for text in texts if TOKEN in text] == []


async def test_no_answer_has_a_password_hash_or_a_private_key() -> None:
    async with administering(AdminBench()) as admin:
        user = await admin.bench.add_user()
        issued = await admin.bench.log_in(user)
        await admin.bench.record()
        secrets = [(await admin.bench.users.get(user.user_id)).password_hash, issued.refresh_token, issued.access_token]
        sealed = [row.sealed.hex() for row in await admin.bench.stores.keys.list_keys()]
        for method, path in OPERATIONS:
            if method == "GET":
                path = path.replace(f"users/{SOME_ID}", f"users/{user.user_id}")
                path = path.replace(f"sessions/{SOME_ID}", f"sessions/{issued.session.sid}")
                answer = await admin.call(method, path)
                assert answer.status == 200, path
                text = answer.body.decode()
                assert not [secret for secret in (*secrets, *sealed) if secret is not None and secret in text]
                assert "password_hash" not in text
                assert "sealed" not in text.replace("it is sealed under", "")
