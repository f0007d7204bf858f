"""`gateway serve` on uvloop: TLS, PROXY headers and unix sockets as a user sets them up."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
from support.listening import certificate, client_context
from support.process import PATIENCE, Fleet, until
from support.proxying import field_of

REQUEST = b"GET %b HTTP/1.1\r\nHost: gateway.test\r\nX-Forwarded-For: 203.0.113.9\r\nConnection: close\r\n\r\n"


def exchange(sock: socket.socket, data: bytes) -> bytes:
    """Send, and read to the end."""
    found = b""
    with sock:
        sock.settimeout(PATIENCE)
        sock.sendall(data)
        while piece := sock.recv(65536):
            found += piece
    return found


def tls(fleet: Fleet, folder: Path, **changes: Any) -> dict[str, Any]:
    files = certificate(folder, **changes)
    return {"cert_file": str(files.certificate), "key_file": str(files.key)}


def test_tls_behind_a_load_balancer_that_names_its_clients(fleet: Fleet, tmp_path: Path) -> None:
    server = {"tls": tls(fleet, tmp_path), "proxy_protocol": ["127.0.0.1"], "trusted_proxies": ["127.0.0.1"]}
    gateway = fleet.serve(server=server)
    for header in (b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\n", b"PROXY TCP6 2001:db8::7 fd00::1 1 2\r\n"):
        raw = socket.create_connection(("127.0.0.1", gateway.port), PATIENCE)
        raw.sendall(header)
        secured = client_context().wrap_socket(raw)
        assert secured.version() == "TLSv1.3"
        assert exchange(secured, REQUEST % b"/public/x").startswith(b"HTTP/1.1 200")
    first, second = fleet.upstream.heads
    assert field_of(first, b"X-Forwarded-For") == b"192.0.2.7"
    assert field_of(first, b"X-Forwarded-Proto") == b"https"
    assert field_of(second, b"X-Forwarded-For") == b"2001:db8::7"
    unnamed = socket.create_connection(("127.0.0.1", gateway.port), PATIENCE)
    with pytest.raises(OSError):
        client_context().wrap_socket(unnamed)
    unnamed.close()
    plain = socket.create_connection(("127.0.0.1", gateway.port), PATIENCE)
    assert b"HTTP" not in exchange(plain, b"PROXY UNKNOWN\r\n" + REQUEST % b"/public/x")
    half = socket.create_connection(("127.0.0.1", gateway.port), PATIENCE)
    half.sendall(b"PROXY UNKNOWN\r\n\x16\x03")
    assert gateway.stop() == 0
    half.close()
    assert gateway.stderr.text == ""
    assert [entry["client.address"] for entry in gateway.events("proxy.request")] == ["192.0.2.7", "2001:db8::7"]
    assert gateway.events("log.library") == []


def test_unix_sockets_for_the_public_and_the_admin_listener(fleet: Fleet, tmp_path: Path) -> None:
    public, admin = tmp_path / "public.sock", tmp_path / "admin.sock"
    server = {
        "listen": f"unix:{public}",
        "admin_listen": f"unix:{admin}",
        "socket_mode": "0600",
        "trusted_proxies": ["unix"],
        "public_url": "https://gateway.test",
    }
    path = fleet.configure(server=server)
    gateway = fleet.launch("serve", "--config", str(path)).ready()
    assert gateway.events("gateway.started")[0]["listen"] == f"unix:{public}"
    answers = []
    for name, target in ((public, b"/public/x"), (admin, b"/readyz"), (public, b"/auth/openapi.json")):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(name))
        answers.append(exchange(sock, REQUEST % target))
    assert [answer[:12] for answer in answers] == [b"HTTP/1.1 200"] * 3
    assert field_of(fleet.upstream.heads[0], b"X-Forwarded-For") == b"203.0.113.9"
    second = fleet.command("serve", "--config", str(path))
    assert second.returncode == 3
    assert "another process listens on it" in second.stderr
    gateway.stop(signal.SIGKILL)
    assert public.exists()
    gateway.start()
    gateway.ready()
    assert gateway.stop() == 0
    assert not public.exists()
    assert not admin.exists()


def test_workers_share_tls_proxy_headers_and_a_unix_socket_that_only_the_supervisor_removes(
    fleet: Fleet, tmp_path: Path
) -> None:
    admin = tmp_path / "admin.sock"
    server = {
        "workers": 2,
        "tls": tls(fleet, tmp_path),
        "proxy_protocol": ["127.0.0.1"],
        "trusted_proxies": ["127.0.0.1"],
    }
    gateway = fleet.serve(server=server | {"admin_listen": f"unix:{admin}"})
    for port in range(1, 9):
        raw = socket.create_connection(("127.0.0.1", gateway.port), PATIENCE)
        raw.sendall(b"PROXY TCP4 192.0.2.7 10.0.0.1 %d 443\r\n" % port)
        assert exchange(client_context().wrap_socket(raw), REQUEST % b"/public/x").startswith(b"HTTP/1.1 200")
    assert {field_of(head, b"X-Forwarded-For") for head in fleet.upstream.heads} == {b"192.0.2.7"}
    os.kill(gateway.workers()[0], signal.SIGTERM)
    gateway.wait_for("worker.exited")
    until(lambda: len(gateway.events("worker.started")) == 3, "the replacement")
    probe = socket.socket(socket.AF_UNIX)
    probe.connect(str(admin))  # the worker that left did not take the file with it
    assert exchange(probe, REQUEST % b"/readyz").startswith(b"HTTP/1.1 200")
    assert gateway.stop() == 0
    assert not admin.exists()
    assert gateway.events("log.library") == []


def test_a_certificate_that_cannot_be_used_stops_the_start_with_its_line(fleet: Fleet, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    section = tls(fleet, tmp_path)
    section["key_file"] = tls(fleet, tmp_path / "other")["key_file"]
    path = fleet.configure(server={"tls": section})
    for command in (("serve",), ("config", "check")):
        done = fleet.command(*command, "--config", str(path))
        assert done.returncode == 78
        assert "does not belong to the certificate" in done.stdout + done.stderr
    fleet.add_user()
    assert fleet.command("sessions", "list", "ada", "--config", str(path)).returncode == 0


@pytest.mark.parametrize(("days", "word"), [(13.0, "expires on"), (-1.0, "expired on")])
def test_a_certificate_at_its_end_is_a_warning_at_check_start_and_doctor(
    days: float, word: str, fleet: Fleet, tmp_path: Path
) -> None:
    path = fleet.configure(server={"tls": tls(fleet, tmp_path, days=days)})
    check = fleet.command("config", "check", "--config", str(path))
    assert check.returncode == 0
    assert word in check.stderr
    doctor = json.loads(fleet.command("doctor", "--json", "--config", str(path)).stdout)
    assert [found["status"] for found in doctor["checks"] if word in found["detail"]] == ["warn"]


def test_the_own_api_over_tls(fleet: Fleet, tmp_path: Path) -> None:
    fleet.add_user()
    gateway = fleet.serve(server={"tls": tls(fleet, tmp_path)})
    connection = http.client.HTTPSConnection("127.0.0.1", gateway.port, timeout=PATIENCE, context=client_context())
    body = json.dumps({"username": "ada", "password": "correct-horse-battery"})
    connection.request("POST", "/auth/login", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    cookie = answer.headers["Set-Cookie"]
    answer.read()
    connection.request("POST", "/auth/refresh", headers={"Cookie": cookie.partition(";")[0]})
    again = connection.getresponse()
    again.read()
    connection.close()
    assert (answer.status, again.status) == (200, 200)
    assert cookie.startswith("__Host-gw_refresh=")
