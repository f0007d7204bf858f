"""The configuration changes under a running gateway: all of it or nothing, and no request is lost on the way."""

from __future__ import annotations

import json
import socket
import threading
from typing import Any

import pytest
from support.load import load
from support.process import Fleet, GatewayProcess, until

WATCHED = {"watch": True, "interval": "100ms"}


def routes(fleet: Fleet, *, api: str = "required", public: str = "none") -> list[dict[str, Any]]:
    return [
        {"name": "api", "match": {"path": "/api/"}, "upstream": fleet.upstream.url, "auth": api},
        {"name": "public", "match": {"path": "/public/"}, "upstream": fleet.upstream.url, "auth": public},
    ]


def rewrite(fleet: Fleet, gateway: GatewayProcess, **sections: Any) -> None:
    """Another configuration on the same port."""
    document = json.loads((fleet.folder / "gateway.yaml").read_text())
    server = document["server"] | sections.pop("server", {})
    fleet.configure(server=server, **({"logging": document.get("logging", {})} | sections))
    assert f":{gateway.port}" in server["listen"]


def reloaded(gateway: GatewayProcess, times: int = 1) -> dict[str, Any]:
    until(lambda: len(gateway.events("config.reloaded")) >= times, "the reload")
    return gateway.events("config.reloaded")[times - 1]


def sentences(event: dict[str, Any], member: str = "changes") -> list[str]:
    return [change["change"] for change in event[member]]


@pytest.mark.parametrize("workers", [1, 2])
def test_reloads_under_load_without_a_failed_request(fleet: Fleet, workers: int) -> None:
    gateway = fleet.serve(server={"workers": workers}, logging={"access_log": False})
    processes = gateway.workers()
    with load(gateway.port, "/public/x", kept=4, fresh=1) as clients:
        for times, api in enumerate(("none", "required", "none", "required"), 1):
            answered = clients.answered
            rewrite(fleet, gateway, routes=routes(fleet, api=api))
            gateway.hang_up()
            event = reloaded(gateway, times)
            assert (event["weakens"], event["level"]) == ((True, "warning") if api == "none" else (False, "info"))
            assert sentences(event) == [f"route api: {'required → none' if api == 'none' else 'none → required'}"]
            until(lambda: clients.answered > answered + 30, "more load")  # noqa: B023
            # In force on connections that stood before and on new ones, by whichever worker.
            until(lambda: gateway.request("GET", "/api/x").status == (200 if api == "none" else 401), "the new rule")  # noqa: B023
    assert clients.failures == []
    assert set(clients.statuses) == {200}
    assert gateway.workers() == processes
    assert gateway.stop() == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_a_broken_file_keeps_the_old_configuration(fleet: Fleet, workers: int) -> None:
    gateway = fleet.serve(server={"workers": workers})
    path = fleet.folder / "gateway.yaml"
    good = path.read_text()
    path.write_text(good.replace('"auth": "none"', '"auth": "nobody"').replace('"path": "/api/"', '"pth": "/api/"'))
    gateway.hang_up()
    event = gateway.wait_for("config.reload_failed")
    assert event["level"] == "error"
    assert len(event["problems"]) >= 2
    assert all(problem.startswith(f"{path}:") for problem in event["problems"])
    assert gateway.request("GET", "/public/x").status == 200
    assert gateway.request("GET", "/api/x").status == 401
    path.unlink()
    gateway.hang_up()
    until(lambda: len(gateway.events("config.reload_failed")) == 2, "the second failure")
    assert "does not exist" in gateway.events("config.reload_failed")[1]["problems"][0]
    path.write_text(good)
    gateway.hang_up()
    assert reloaded(gateway)["changes"] == []
    assert gateway.stop() == 0


def test_the_file_is_watched_and_an_empty_one_is_not_believed(fleet: Fleet) -> None:
    gateway = fleet.serve(server={"reload": WATCHED})
    path = fleet.folder / "gateway.yaml"
    path.write_text("")
    rewrite_text = json.dumps(_document(fleet, gateway, trusted=["10.0.0.0/8"]))
    path.write_text(rewrite_text)
    event = reloaded(gateway)
    assert event["trigger"] == "file"
    assert event["changes"] == [{"change": "server.trusted_proxies: + 10.0.0.0/8", "weakens": True}]
    assert gateway.events("config.reload_failed") == []
    assert gateway.stop() == 0


def test_what_needs_a_restart_is_named_and_the_rest_is_in_force(fleet: Fleet) -> None:
    gateway = fleet.serve()
    rewrite(
        fleet,
        gateway,
        server={"workers": 2, "trusted_proxies": ["127.0.0.0/8"]},
        storage={"database": f"sqlite:///{fleet.folder}/other.db"},
        tokens={"access_ttl": "10m"},
    )
    gateway.hang_up()
    event = reloaded(gateway)
    assert sentences(event) == ["server.trusted_proxies: + 127.0.0.0/8"]
    pending = sentences(event, "needs_restart")
    assert {sentence.partition(":")[0] for sentence in pending} == {
        "server.workers",
        "storage.database",
        "tokens.access_ttl",
    }
    gateway.request("GET", "/public/x", [("X-Forwarded-For", "192.0.2.7")])
    gateway.wait_for("proxy.request", **{"client.address": "192.0.2.7"})
    assert not (fleet.folder / "other.db").exists()
    assert gateway.stop() == 0


def test_requests_under_way_keep_the_configuration_they_began_with(fleet: Fleet) -> None:
    gateway = fleet.serve()
    asked, go = threading.Event(), threading.Event()

    def hold() -> None:
        asked.set()
        go.wait(20)

    fleet.upstream.before_answer = hold
    with socket.create_connection(("127.0.0.1", gateway.port), 20) as client:
        client.sendall(b"GET /public/x HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
        assert asked.wait(20)
        rewrite(fleet, gateway, routes=routes(fleet, public="required"))
        gateway.hang_up()
        reloaded(gateway)
        go.set()
        assert client.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")
        client.sendall(b"GET /public/x HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 401 ")
    assert gateway.stop() == 0


def test_workers_come_and_go(fleet: Fleet) -> None:
    gateway = fleet.serve(server={"workers": 2})
    rewrite(fleet, gateway, server={"workers": 3})
    gateway.hang_up()
    until(lambda: len(gateway.events("worker.started")) == 3, "the third worker")
    rewrite(fleet, gateway, server={"workers": 1})
    gateway.hang_up()
    until(lambda: len(gateway.workers()) == 1, "one worker")
    assert gateway.request("GET", "/public/x").status == 200
    assert gateway.stop() == 0


def _document(fleet: Fleet, gateway: GatewayProcess, *, trusted: list[str]) -> dict[str, Any]:
    (fleet.folder / "other").mkdir(exist_ok=True)
    path = fleet.configure("other/gateway.yaml", server={"listen": f"127.0.0.1:{gateway.port}", "reload": WATCHED})
    document: dict[str, Any] = json.loads(path.read_text())
    document["server"]["trusted_proxies"] = trusted
    return document


@pytest.mark.parametrize("workers", [1, 2])
def test_systemd_is_told(fleet: Fleet, workers: int) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(20)
        manager.bind(str(fleet.folder / "notify"))
        path = fleet.configure(server={"workers": workers})
        env = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "60000000"}
        gateway = fleet.launch("serve", "--config", str(path), **env)

        alive = []

        def told() -> str:
            while (text := manager.recv(1024).decode()) == "WATCHDOG=1":
                alive.append(text)
            return text

        ready = f"READY=1\nMAINPID={gateway.process.pid}"
        assert told() == ready
        gateway.hang_up()
        assert told().startswith("RELOADING=1\nMONOTONIC_USEC=")
        assert told() == ready
        assert gateway.stop() == 0
        assert told() == "STOPPING=1"
        assert alive
