"""The admin API of gateways at work: one process, several workers, another token while it runs."""

from __future__ import annotations

import http.client
import json
import signal
from typing import Any

from support.leaks import WATCH
from support.process import PASSWORD, Fleet, free_port, until

TOKEN = "served-admin-token-0123456789-abcdef"
OTHER = "another-admin-token-0123456789-abcdef"


def call(listen: str, method: str, path: str, members: object = None, token: str | None = TOKEN) -> tuple[int, Any]:
    """One call on a connection of its own, so that any worker may answer."""
    for text in (TOKEN, OTHER):
        WATCH.secret(text, "the admin token")
    connection = http.client.HTTPConnection(listen, timeout=10)
    headers = {"Content-Type": "application/json"} if members is not None else {}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    connection.request(method, path, json.dumps(members) if members is not None else None, headers)
    answer = connection.getresponse()
    status, body = answer.status, answer.read()
    connection.close()
    WATCH.output(body, f"the body of {method} {path.partition('?')[0]}")
    return status, json.loads(body) if body[:1] == b"{" else body


def test_what_is_done_on_one_worker_holds_on_all(fleet: Fleet) -> None:
    listen = f"127.0.0.1:{free_port()}"
    (fleet.folder / "token").write_text(TOKEN + "\n")
    server = {"admin_listen": listen, "workers": 2, "admin_token_file": str(fleet.folder / "token")}
    gateway = fleet.serve(server=server)
    members = {"username": "eve", "password": PASSWORD, "roles": ["user"]}
    status, user = call(listen, "POST", "/admin/users", members)
    assert status == 201
    logins = [gateway.login("eve") for _ in range(2)]
    tokens = [login.json["access_token"] for login in logins]
    assert [gateway.call(token).status for token in tokens] == [200, 200]

    assert call(listen, "DELETE", f"/admin/sessions/{logins[0].json['session_id']}")[0] == 204
    until(lambda: [gateway.call(tokens[0]).status for _ in range(8)] == [401] * 8, "refused by every worker")
    assert gateway.call(tokens[1]).status == 200
    assert call(listen, "PATCH", f"/admin/users/{user['id']}", {"active": False})[0] == 200
    until(lambda: [gateway.call(tokens[1]).status for _ in range(8)] == [401] * 8, "refused by every worker")

    def reasons() -> list[str]:
        status, page = call(listen, "GET", "/admin/events?event=session.revoked&user=eve")
        return sorted(event["reason"] for event in page["events"]) if status == 200 else []

    until(lambda: reasons() == ["admin", "user_disabled"], "the events in the store")
    assert sorted(event["reason"] for event in gateway.events("session.revoked")) == ["admin", "user_disabled"]

    kid = call(listen, "POST", "/admin/keys/rotate")[1]["kid"]
    for _ in range(4):
        assert kid in [key["kid"] for key in call(listen, "GET", "/admin/keys")[1]["keys"]]
    for _ in range(4):
        assert call(listen, "GET", "/admin/users", token=None)[0] == 401
        assert call(listen, "GET", "/metrics", token=None)[0] == 200
    assert gateway.stop() == 0
    assert TOKEN not in gateway.stdout.text + gateway.stderr.text


def test_a_reload_brings_another_token(fleet: Fleet) -> None:
    listen = f"127.0.0.1:{free_port()}"
    (fleet.folder / "token").write_text(TOKEN)
    server = {"admin_listen": listen, "admin_token_file": str(fleet.folder / "token")}
    gateway = fleet.serve(server=server)
    assert call(listen, "GET", "/admin/users")[0] == 200
    (fleet.folder / "token").write_text(OTHER)
    gateway.process.send_signal(signal.SIGHUP)
    until(lambda: call(listen, "GET", "/admin/users", token=OTHER)[0] == 200, "the other token")
    assert call(listen, "GET", "/admin/users")[0] == 401
    until(lambda: gateway.events("config.reloaded"), "the event")
    (event,) = gateway.events("config.reloaded")
    assert event["changes"] == [{"change": "server.admin_token: changed"}]
    assert gateway.stop() == 0


def test_without_a_token_the_setting_is_named(fleet: Fleet) -> None:
    listen = f"127.0.0.1:{free_port()}"
    gateway = fleet.serve(server={"admin_listen": listen})
    status, problem = call(listen, "GET", "/admin/users")
    assert (status, problem["error"]) == (404, "not_found")
    assert "server.admin_token" in problem["detail"]
    assert call(listen, "GET", "/readyz", token=None) == (200, b"ready\n")
    assert gateway.stop() == 0
