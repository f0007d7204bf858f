"""Several workers: none is missed when it dies, hangs or is replaced, and what they know they know together."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.load import load
from support.process import Fleet, GatewayProcess, free_port, until

CANNOT_START = 3
NOTICED_WITHIN = 1.0


def two(fleet: Fleet, *, access_log: bool = False, **server: Any) -> GatewayProcess:
    """A gateway with two workers. Under load there is no access log: it would be read over and over."""
    return fleet.serve(server={"workers": 2, "cpu_affinity": False, **server}, logging={"access_log": access_log})


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """One gateway with two workers and the user ada, for tests that leave it as it is."""
    with contextlib.closing(Fleet(tmp_path_factory.mktemp("shared"))) as fleet:
        gateway = fleet.serve(server={"workers": 2}, throttle={"pair": {"attempts": 4, "per": "1h"}})
        fleet.add_user()
        yield gateway


def readiness(port: int) -> tuple[int, str]:
    """Status of /readyz, and what it says about the number of workers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", "/readyz?verbose")
        response = connection.getresponse()
        lines = response.read().decode().splitlines()
    finally:
        connection.close()
    return response.status, next((line for line in lines if line.startswith("workers")), "")


def started(gateway: GatewayProcess) -> list[dict[str, Any]]:
    return gateway.events("worker.started")


def test_restarts_one_by_one_under_load_without_a_failed_request(fleet: Fleet) -> None:
    gateway = two(fleet)
    before = set(gateway.workers())
    with load(gateway.port, "/public/x") as clients:
        until(lambda: clients.answered > 50, "the load")
        fleet.configure(server={**_server(fleet), "cpu_affinity": True}, logging={"access_log": False})
        gateway.hang_up()
        gateway.wait_for("config.reloaded")
        until(lambda: len(gateway.events("worker.exited")) == 2, "the old workers' end")
        answered = clients.answered
        until(lambda: clients.answered > answered + 50, "more load")
    assert clients.failures == []
    assert set(clients.statuses) == {200}
    assert before.isdisjoint(gateway.workers())
    assert all(entry["exit_code"] == 0 and entry["expected"] for entry in gateway.events("worker.exited"))
    assert len(started(gateway)) == 4
    assert gateway.stop() == 0
    assert gateway.stderr.text == ""
    assert [entry["event"] for entry in gateway.log if entry["event"] == "gateway.stopped"] == ["gateway.stopped"]


def test_a_killed_worker_is_replaced_and_the_others_serve(fleet: Fleet) -> None:
    admin = free_port()
    gateway = two(fleet, admin_listen=f"127.0.0.1:{admin}")
    until(lambda: readiness(admin) == (200, "workers (2 of 2): ok"), "both workers")
    victim, survivor = gateway.workers()
    os.kill(victim, signal.SIGKILL)
    with load(gateway.port, "/public/x", kept=0, fresh=2) as clients:
        exited = gateway.wait_for("worker.exited", pid=victim)
        until(lambda: readiness(admin) == (200, "workers (1 of 2): ok"), "one worker")
        until(lambda: len(started(gateway)) == 3, "the replacement")
        until(lambda: clients.answered > 20, "the load")
    assert (exited["exit_code"], exited["expected"], exited["level"]) == (-9, False, "error")
    assert clients.failures == []
    assert set(clients.statuses) == {200}
    assert survivor in gateway.workers()
    until(lambda: readiness(admin) == (200, "workers (2 of 2): ok"), "both again")
    assert gateway.stop() == 0


def test_a_hung_worker_is_replaced(fleet: Fleet) -> None:
    gateway = two(fleet, worker_timeout="1500ms")
    victim = gateway.workers()[0]
    os.kill(victim, signal.SIGSTOP)
    hung = gateway.wait_for("worker.hung", pid=victim)
    assert hung["silent_s"] >= 1.5
    until(lambda: len(started(gateway)) == 3, "the replacement")
    assert gateway.request("GET", "/public/x").status == 200
    assert gateway.stop() == 0


def test_what_stops_a_worker_from_starting_is_said_once_and_ends_the_gateway(fleet: Fleet) -> None:
    fleet.database.mkdir()
    path = fleet.configure(server={"workers": 4})
    done = fleet.command("serve", "--config", str(path))
    assert (done.returncode, done.stdout) == (CANNOT_START, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"gateway: the database {fleet.database} cannot be opened")


def test_a_port_that_is_taken_stops_it_before_any_worker(fleet: Fleet) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = fleet.command("serve", "--config", str(fleet.configure(server={"workers": 2, "listen": address})))
    assert (done.returncode, len(done.stderr.splitlines())) == (CANNOT_START, 1)
    assert not fleet.database.exists()


def test_a_replacement_that_cannot_start_does_not_take_the_others_along(fleet: Fleet) -> None:
    gateway = two(fleet)
    before = gateway.workers()
    key = fleet.database.with_suffix(".key")
    text = key.read_text()
    key.unlink()
    fleet.configure(server=_server(fleet), tokens={"access_ttl": "10m"}, logging={"access_log": False})
    gateway.hang_up()
    failed = gateway.wait_for("config.reload_failed")
    assert "bring it back" in failed["problems"][0]
    assert gateway.workers() == before
    os.kill(before[0], signal.SIGKILL)
    until(lambda: len(gateway.events("worker.exited")) == 3, "the replacement's end")
    assert [entry["exit_code"] for entry in gateway.events("worker.exited")] == [CANNOT_START, -9, CANNOT_START]
    assert gateway.request("GET", "/public/x").status == 200
    key.touch(0o600)
    key.write_text(text)
    until(lambda: len(started(gateway)) == 3, "the replacement")
    fleet.add_user()
    assert gateway.login().json["expires_in"] == 900
    assert gateway.stop() == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_the_signal_to_stop_waits_for_a_slow_answer(fleet: Fleet, workers: int) -> None:
    gateway = fleet.serve(server={"workers": workers})
    asked, go = threading.Event(), threading.Event()

    def hold() -> None:
        asked.set()
        go.wait(20)

    fleet.upstream.before_answer = hold
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(gateway.request("GET", "/public/x").status))
    thread.start()
    assert asked.wait(20)
    for pid in gateway.workers():  # systemd sends it to all processes of a service
        os.kill(pid, signal.SIGTERM)
    gateway.process.send_signal(signal.SIGTERM)
    until(lambda: _refused(gateway.port), "the end of accepting")
    assert gateway.process.poll() is None
    go.set()
    thread.join(20)
    assert answers == [200]
    assert gateway.wait() == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_a_second_signal_does_not_wait(fleet: Fleet, workers: int) -> None:
    gateway = fleet.serve(server={"workers": workers})
    asked, go = threading.Event(), threading.Event()

    def hold() -> None:
        asked.set()
        go.wait(20)

    fleet.upstream.before_answer = hold
    with socket.create_connection(("127.0.0.1", gateway.port), 20) as client:
        client.sendall(b"GET /public/x HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
        assert asked.wait(20)
        gateway.process.send_signal(signal.SIGTERM)
        until(lambda: _refused(gateway.port), "the end of accepting")
        begun = time.monotonic()
        gateway.process.send_signal(signal.SIGTERM)
        code = gateway.wait()
    go.set()
    assert time.monotonic() - begun < 8
    assert code == (1 if workers > 1 else 0)


def test_workers_end_when_their_supervisor_is_gone(fleet: Fleet) -> None:
    gateway = two(fleet)
    workers = gateway.workers()
    assert len(workers) == 2
    gateway.process.send_signal(signal.SIGKILL)
    until(lambda: not any(_lives(pid) for pid in workers), "the workers' end")
    assert gateway.wait() == -signal.SIGKILL


def test_what_ends_on_one_worker_is_refused_by_the_other_within_a_second(shared: GatewayProcess) -> None:
    gateway = shared
    access = gateway.login().json["access_token"]
    kept = [socket.create_connection(("127.0.0.1", gateway.port), 20) for _ in range(8)]
    head = f"GET /api/x HTTP/1.1\r\nHost: gateway.test\r\nAuthorization: Bearer {access}\r\n\r\n".encode()
    assert {_status(sock, head) for sock in kept} == {200}
    assert gateway.post("/auth/logout", bearer=access).status == 204
    begun = time.monotonic()
    until(lambda: {_status(sock, head) for sock in kept} == {401}, "refused everywhere", NOTICED_WITHIN)
    assert time.monotonic() - begun < NOTICED_WITHIN
    for sock in kept:
        sock.close()


def test_failed_log_ins_count_on_every_worker(shared: GatewayProcess) -> None:
    gateway = shared
    wrong = {"username": "ada", "password": "wrong-horse-battery"}
    statuses = [gateway.post("/auth/login", wrong).status for _ in range(12)]
    # A moment may pass until the other worker knows.
    assert statuses.count(401) <= 6
    assert statuses[-4:] == [429] * 4


def test_lines_of_several_workers_are_never_torn(fleet: Fleet) -> None:
    """Batches are larger than what a pipe takes in one piece."""
    gateway = two(fleet, access_log=True)
    with load(gateway.port, "/public/" + "x" * 900, kept=12, fresh=0) as clients:
        until(lambda: clients.answered > 3000, "the load")
    assert gateway.stop() == 0
    lines = [json.loads(line) for line in gateway.stdout.all]
    assert sum(line["event"] == "proxy.request" for line in lines) == clients.answered
    assert clients.failures == []


def _server(fleet: Fleet) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((fleet.folder / "gateway.yaml").read_text())
    return dict(document["server"])


def _refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionRefusedError:
        return True
    return False


def _lives(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def _status(sock: socket.socket, head: bytes) -> int:
    sock.sendall(head)
    data = b""
    while b"\r\n\r\n" not in data:
        data += sock.recv(65536)
    answer, _, body = data.partition(b"\r\n\r\n")
    length = next(int(line[15:]) for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    while len(body) < length:
        body += sock.recv(65536)
    return int(answer[9:12])
