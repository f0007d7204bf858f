"""The whole gateway as its users meet it: real processes, real sockets, one SQLite file, restarts in between."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator

import pytest
from support.certificates import Authority
from support.echo import EchoUpstream, told
from support.leaks import WATCH
from support.process import PASSWORD, Answer, Fleet, GatewayProcess, free_port, until

Interlude = Callable[[GatewayProcess], None]
Story = Iterator[None]
END = object()
NOTICED_WITHIN = 5.0
"""Seconds another process has at most to learn of a revocation; the goal is one."""

FORGED = (
    "X-User-Id",
    "x-user-id",
    "X_User_Id",
    "X-User_Id",
    "x.user.id",
    "X-User-Name",
    "X_User_Email",
    "X-USER-ROLES",
    "X-Session_Id",
)


def nothing(_: GatewayProcess) -> None:
    """No interlude."""


def stopped(gateway: GatewayProcess) -> None:
    """Stopped as a deployment stops it, and started again."""
    gateway.restart(signal.SIGTERM)


def killed(gateway: GatewayProcess) -> None:
    """Gone from one instant to the next, and started again."""
    gateway.restart(signal.SIGKILL)


def dead(gateway: GatewayProcess, access: str) -> bool:
    """Whether the access token is refused as an invalid one, by the proxy and by the own API."""
    answers = (gateway.call(access), gateway.request("GET", "/auth/me", [("Authorization", f"Bearer {access}")]))
    assert {answer.status for answer in answers} <= {200, 401}
    for answer in answers:
        if answer.status == 401:
            assert answer.error == "invalid_token"
            assert 'error="invalid_token"' in (answer.header("WWW-Authenticate") or "")
    return all(answer.status == 401 for answer in answers)


def confirmed(fleet: Fleet, sid: str) -> int:
    """The generation whose receipt is in the database."""
    with contextlib.closing(sqlite3.connect(fleet.database)) as connection:
        row = connection.execute("SELECT confirmed_generation FROM sessions WHERE sid = ?", (sid,)).fetchone()
    return int(row[0])


@pytest.fixture
def gateway(fleet: Fleet) -> GatewayProcess:
    """A gateway that serves, with the user ada."""
    fleet.add_user(roles=("user", "editor"))
    return fleet.serve()


def test_the_backend_is_told_who_calls_and_nothing_the_client_made_up(fleet: Fleet, gateway: GatewayProcess) -> None:
    login = gateway.login()
    user = login.json["user"]
    forged = [(name, f"forged-{number}") for number, name in enumerate(FORGED)]
    answer = gateway.call(
        login.json["access_token"],
        *forged,
        ("Cookie", f"a=1; {login.cookie}; b=2"),
        ("X-Forwarded-For", "6.6.6.6"),
        ("Connection", "X-User-Id"),
    )
    assert answer.status == 200
    seen = told(answer.body)
    assert {name: seen[name] for name in seen if name.startswith(("x-user", "x-session", "x_", "x."))} == {
        "x-user-id": [user["id"]],
        "x-user-name": ["ada"],
        "x-user-email": ["ada@example.com"],
        "x-user-roles": ["user,editor"],
        "x-session-id": [login.json["session_id"]],
    }
    assert seen["x-forwarded-for"] == ["127.0.0.1"]
    assert seen["cookie"] == ["a=1; b=2"]
    assert "authorization" not in seen
    assert b"forged" not in fleet.upstream.heads[-1]

    public = told(gateway.request("GET", "/public/x", forged).body)
    assert [name for name in public if name.startswith(("x-user", "x_user", "x-session", "x.user"))] == []
    assert gateway.request("GET", "/api/x", forged).status == 401
    assert len(fleet.upstream.heads) == 2


def theft(_: Fleet, gateway: GatewayProcess, user: str) -> Story:
    """An old token comes back: every session of the user is dead, and its access tokens at once."""
    stolen_from, elsewhere = gateway.body_login(user), gateway.body_login(user)
    yield
    assert gateway.call(stolen_from["access_token"]).status == 200
    second = gateway.refresh(stolen_from["refresh_token"])
    assert second.status == 200, second.body
    assert second.json["refresh_token"] != stolen_from["refresh_token"]
    fresh = gateway.refresh(second.json["refresh_token"]).json
    assert gateway.call(fresh["access_token"]).status == 200
    yield
    assert gateway.refresh(stolen_from["refresh_token"]).error == "refresh_token_reused"
    for _ in range(2):
        for login in (stolen_from, elsewhere, fresh):
            assert dead(gateway, login["access_token"])
        for token in (stolen_from["refresh_token"], fresh["refresh_token"], elsewhere["refresh_token"]):
            assert gateway.refresh(token).error == "invalid_grant"
        yield
    assert not dead(gateway, gateway.body_login(user)["access_token"])


def proof_of_arrival(fleet: Fleet, gateway: GatewayProcess, user: str) -> Story:
    """The new access token was used, so the answer arrived. The successor was never presented and the device is the
    same: it may have been a crash, so the other sessions live."""
    login, elsewhere = gateway.body_login(user), gateway.body_login(user)
    fresh = gateway.refresh(login["refresh_token"]).json
    assert gateway.call(fresh["access_token"]).status == 200
    # In the database within 100 ms; from then on no restart makes the gateway forget it.
    until(lambda: confirmed(fleet, fresh["session_id"]) == 2, "the receipt")
    yield
    assert gateway.refresh(login["refresh_token"]).error == "refresh_token_reused"
    assert dead(gateway, fresh["access_token"])
    yield
    assert dead(gateway, fresh["access_token"])
    assert not dead(gateway, elsewhere["access_token"])


def lost_answer(_: Fleet, gateway: GatewayProcess, user: str) -> Story:
    """Without that proof the old token is retried by an honest client, which gets the same successor."""
    login = gateway.body_login(user)
    lost = gateway.refresh(login["refresh_token"]).json
    yield
    again = gateway.refresh(login["refresh_token"])
    assert (again.status, again.json["refresh_token"]) == (200, lost["refresh_token"])
    for _ in range(2):
        assert dead(gateway, lost["access_token"])
        assert not dead(gateway, again.json["access_token"])
        yield
    assert gateway.refresh(again.json["refresh_token"]).status == 200


def log_out(_: Fleet, gateway: GatewayProcess, user: str) -> Story:
    """A browser refreshes by its cookie; log-out ends that session and no other."""
    login, other = gateway.login(user), gateway.login(user)
    yield
    refreshed = gateway.post("/auth/refresh", cookie=login.cookie)
    assert refreshed.status == 200
    assert refreshed.cookie.startswith("__Host-gw_refresh=gwr_")
    assert refreshed.cookie != login.cookie
    yield
    left = gateway.post("/auth/logout", cookie=refreshed.cookie)
    assert (left.status, "Max-Age=0" in (left.header("Set-Cookie") or "")) == (204, True)
    for _ in range(2):
        for answer in (login, refreshed):
            assert dead(gateway, answer.json["access_token"])
        assert gateway.post("/auth/refresh", cookie=refreshed.cookie).error == "invalid_grant"
        assert gateway.post("/auth/logout", cookie=refreshed.cookie).status == 204
        assert not dead(gateway, other.json["access_token"])
        yield


def log_out_everywhere(_: Fleet, gateway: GatewayProcess, user: str) -> Story:
    """Every session of the user ends; a log-in right after lives."""
    logins = [gateway.body_login(user) for _ in range(3)]
    yield
    left = gateway.post("/auth/logout-all", bearer=logins[0]["access_token"])
    assert (left.status, left.json) == (200, {"revoked": 3})
    later = gateway.body_login(user)
    for _ in range(2):
        for login in logins:
            assert dead(gateway, login["access_token"])
            assert gateway.refresh(login["refresh_token"]).error == "invalid_grant"
        assert not dead(gateway, later["access_token"])
        yield


STORIES = (theft, proof_of_arrival, lost_answer, log_out, log_out_everywhere)


@pytest.mark.parametrize("interlude", [nothing, stopped, killed])
def test_the_stories_end_alike_whatever_happens_in_between(fleet: Fleet, interlude: Interlude) -> None:
    """Each story stops at its yields; there all of them wait for the interlude."""
    for story in STORIES:
        fleet.add_user(story.__name__)
    gateway = fleet.serve()
    running = [story(fleet, gateway, story.__name__) for story in STORIES]
    while running:
        running = [story for story in running if next(story, END) is not END]
        if running:
            interlude(gateway)
    assert gateway.stop() == 0
    assert gateway.stderr.text == ""


def test_the_events_tell_the_story_of_a_theft(gateway: GatewayProcess) -> None:
    victim, elsewhere = gateway.body_login(), gateway.body_login()
    gateway.call(victim["access_token"])
    gateway.refresh(gateway.refresh(victim["refresh_token"]).json["refresh_token"])
    gateway.refresh(victim["refresh_token"])
    reused = gateway.wait_for("session.refresh_reused")
    assert reused["level"] == "error"
    assert (reused["outcome"], reused["revoked"], reused["session_id"]) == ("theft", 2, victim["session_id"])
    assert (reused["generation"], reused["distance"]) == (1, 2)
    assert reused["client.address"] == reused["previous.client.address"] == "127.0.0.1"
    assert reused["user_agent.original"] == reused["previous.user_agent.original"]
    until(lambda: len(gateway.events("session.revoked")) == 2)
    assert gateway.stop() == 0
    names = [entry["event"] for entry in gateway.log]
    assert names.index("session.refresh_reused") < names.index("session.revoked")
    ended = gateway.events("session.revoked")
    assert {entry["session_id"] for entry in ended} == {victim["session_id"], elsewhere["session_id"]}
    assert {entry["reason"] for entry in ended} == {"reuse"}
    assert names.count("login.succeeded") == 2
    request = gateway.events("proxy.request")[0]
    assert (request["route"], request["url.path"], request["http.response.status_code"]) == ("api", "/api/x", 200)
    assert request["session_id"] == victim["session_id"]


@pytest.fixture
def pair(fleet: Fleet) -> tuple[GatewayProcess, GatewayProcess]:
    """Two processes on one database."""
    fleet.add_user(roles=("user",))
    return fleet.serve("one.yaml"), fleet.serve("two.yaml")


def refused_soon(gateway: GatewayProcess, access: str) -> None:
    """Wait for the other process to refuse the token."""
    until(lambda: dead(gateway, access), "the revocation on the other process", NOTICED_WITHIN)


def out(gateway: GatewayProcess, login: dict[str, str]) -> Answer:
    return gateway.post("/auth/logout", {"refresh_token": login["refresh_token"]})


def out_everywhere(gateway: GatewayProcess, login: dict[str, str]) -> Answer:
    return gateway.post("/auth/logout-all", bearer=login["access_token"])


def replay(gateway: GatewayProcess, login: dict[str, str]) -> Answer:
    fresh = gateway.refresh(login["refresh_token"]).json
    gateway.refresh(fresh["refresh_token"])
    return gateway.refresh(login["refresh_token"])


@pytest.mark.parametrize("end", [out, out_everywhere, replay])
def test_what_ends_on_one_process_is_refused_on_the_other(
    pair: tuple[GatewayProcess, GatewayProcess], end: Callable[[GatewayProcess, dict[str, str]], Answer]
) -> None:
    one, two = pair
    login, bystander = one.body_login(), two.body_login()
    assert (two.call(login["access_token"]).status, one.call(bystander["access_token"]).status) == (200, 200)
    assert end(one, login).status in {200, 204, 401}
    assert dead(one, login["access_token"])
    refused_soon(two, login["access_token"])
    if end is out:
        assert two.call(bystander["access_token"]).status == 200
    else:
        refused_soon(two, bystander["access_token"])
        assert two.refresh(bystander["refresh_token"]).error == "invalid_grant"


def test_a_token_refreshed_on_one_process_is_spent_on_the_other(pair: tuple[GatewayProcess, GatewayProcess]) -> None:
    one, two = pair
    first = one.body_login()
    second = two.refresh(first["refresh_token"]).json
    third = one.refresh(second["refresh_token"]).json
    assert two.call(third["access_token"]).status == 200
    assert two.refresh(first["refresh_token"]).error == "refresh_token_reused"
    refused_soon(one, third["access_token"])
    assert one.refresh(third["refresh_token"]).error == "invalid_grant"


def test_commands_take_effect_on_running_gateways(fleet: Fleet, pair: tuple[GatewayProcess, GatewayProcess]) -> None:
    def run(*arguments: str, stdin: str = "") -> None:
        done = fleet.command(*arguments, "--config", "one.yaml", stdin=stdin)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr

    login = pair[0].body_login()
    run("sessions", "revoke", login["session_id"])
    for gateway in pair:
        refused_soon(gateway, login["access_token"])
        assert gateway.refresh(login["refresh_token"]).error == "invalid_grant"

    login = pair[1].body_login()
    run("users", "set-roles", "ada", "--role", "admin")
    for gateway in pair:
        refused_soon(gateway, login["access_token"])
    refreshed = pair[0].refresh(login["refresh_token"])
    assert refreshed.json["user"]["roles"] == ["admin"]
    assert told(pair[1].call(refreshed.json["access_token"]).body)["x-user-roles"] == ["admin"]

    login, new = refreshed.json, "another-long-password"
    WATCH.secret(new, "a password")
    run("users", "set-password", "ada", "--password-stdin", stdin=new)
    for gateway in pair:
        refused_soon(gateway, login["access_token"])
        assert gateway.refresh(login["refresh_token"]).error == "invalid_grant"
    old = pair[0].post("/auth/login", {"username": "ada", "password": PASSWORD})
    assert (old.status, old.error) == (401, "invalid_credentials")

    login = pair[0].body_login(password=new)
    run("users", "disable", "ada")
    for gateway in pair:
        refused_soon(gateway, login["access_token"])
        assert gateway.refresh(login["refresh_token"]).error == "invalid_grant"
        again = gateway.post("/auth/login", {"username": "ada", "password": new})
        assert (again.status, again.error) == (401, "invalid_credentials")

    run("users", "enable", "ada")
    assert dead(pair[0], login["access_token"])
    assert pair[1].refresh(login["refresh_token"]).error == "invalid_grant"
    assert pair[1].call(pair[0].body_login(password=new)["access_token"]).status == 200


def test_sigterm_lets_a_request_under_way_finish(fleet: Fleet, gateway: GatewayProcess) -> None:
    access = gateway.body_login()["access_token"]
    release = threading.Event()
    fleet.upstream.before_answer = lambda: release.wait(10)
    answers: list[Answer] = []
    asking = threading.Thread(target=lambda: answers.append(gateway.call(access)))
    asking.start()
    until(lambda: fleet.upstream.heads)
    gateway.process.send_signal(signal.SIGTERM)
    until(lambda: _refuses(gateway), "the listener closed")
    assert gateway.process.poll() is None
    release.set()
    asking.join(20)
    assert [answer.status for answer in answers] == [200]
    assert gateway.wait() == 0
    assert [entry["event"] for entry in gateway.log][-2:] == ["proxy.request", "gateway.stopped"]
    assert gateway.stderr.text == ""


def _refuses(gateway: GatewayProcess) -> bool:
    try:
        return gateway.request("GET", "/api/x").status == 503
    except OSError:
        return True


def test_a_backend_that_is_away_is_told_once_and_again_when_it_is_back(fleet: Fleet) -> None:
    fleet.add_user()
    port = free_port()
    route = {"name": "late", "match": {"path": "/"}, "upstream": f"http://127.0.0.1:{port}", "auth": "none"}
    gateway = fleet.serve(routes=[route])
    for _ in range(2):
        away = gateway.request("GET", "/x")
        assert (away.status, away.error) == (502, "bad_gateway")
    down = gateway.wait_for("upstream.down")
    assert (down["level"], down["route"], down["upstream"]) == ("warning", "late", f"http://127.0.0.1:{port}")
    assert "refused" in down["error"]
    with contextlib.closing(EchoUpstream(port)):
        assert gateway.request("GET", "/x").status == 200
        gateway.wait_for("upstream.up", upstream=f"http://127.0.0.1:{port}")
    assert gateway.stop() == 0
    assert len(gateway.events("upstream.down")) == 1
    assert gateway.events("proxy.request")[0]["http.response.body.size"] == len(away.body)


def test_several_backends_of_every_kind_are_one_to_the_client(fleet: Fleet) -> None:
    fleet.add_user()
    first, second = free_port(), free_port()
    authority = Authority(fleet.folder)
    urls = [f"http://127.0.0.1:{first}", f"http://localhost:{second}/base"]
    route = {
        "name": "all",
        "match": {"path": "/"},
        "upstream": [{"url": urls[0], "weight": 2}, {"url": urls[1]}, {"url": "https://127.0.0.1:1"}],
        "auth": "none",
        "breaker": {"failures": 1, "open_for": "1h", "longest": "1h"},
        "retries": 2,
        "health": {"path": "/up", "interval": "50ms"},
        "upstream_tls": {"ca_file": str(authority.ca_file)},
    }
    with contextlib.closing(EchoUpstream(first)) as one, contextlib.closing(EchoUpstream(second)) as two:
        gateway = fleet.serve(routes=[route])
        gateway.wait_for("upstream.down", upstream="https://127.0.0.1:1")
        assert [gateway.request("GET", "/x").status for _ in range(6)] == [200] * 6
        assert sum(head.startswith(b"GET /x ") for head in one.heads) == 4
        assert sum(head.startswith(b"GET /base/x ") for head in two.heads) == 2
        one.close()
        gateway.wait_for("upstream.down", upstream=urls[0])
        assert [gateway.request("GET", "/x").status for _ in range(3)] == [200] * 3
    with contextlib.closing(EchoUpstream(first)):
        gateway.wait_for("upstream.up", upstream=urls[0])
    assert gateway.stop() == 0
    assert gateway.stderr.text == ""


def test_a_gateway_without_routes_says_so(fleet: Fleet) -> None:
    gateway = fleet.serve(routes=[])
    (warning,) = gateway.wait_for("gateway.started", level="warning")["warnings"]
    assert "no route" in warning
    assert gateway.request("GET", "/").status == 404
