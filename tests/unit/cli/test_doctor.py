"""`gateway doctor` on good and broken deployments."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime as dt
import http.server
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from click.testing import CliRunner, Result
from support.certificates import Authority
from support.process import free_port

from gateway.app import Gateway, open_gateway
from gateway.cli import cli
from gateway.cli.context import open_deployment
from gateway.cli.doctor_certificates import judge
from gateway.cli.finding import Status
from gateway.clock import SystemClock
from gateway.runtime.listeners import Listeners
from gateway.settings.loader import load
from gateway.settings.model import Settings
from gateway.stores.sqlite.sessions import SqliteSessions


@pytest.fixture
def backend() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: int) -> Path:
    """A deployment that has been served once."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GATEWAY_CONFIG", raising=False)
    configure(backend)
    asyncio.run(serve_once())
    return tmp_path


def configure(*ports: int, more: str = "") -> None:
    routes = "".join(
        f"  - {{name: route{number}, match: {{path: /{number}/}}, upstream: 'http://127.0.0.1:{port}'}}\n"
        for number, port in enumerate(ports)
    )
    server = "" if "server:" in more else f"server: {{admin_listen: '127.0.0.1:{free_port()}'}}\n"
    Path("gateway.yaml").write_text(f"routes:\n{routes}{server}{more}", encoding="utf-8")


async def serve_once() -> None:
    """What the first start leaves behind."""
    async with open_deployment(load(Path("gateway.yaml"), {}).settings, SystemClock()) as deployment:
        await (await deployment.keys()).load()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["doctor", *arguments])


def checks(result: Result) -> dict[str, tuple[str, str]]:
    """Check: (status, detail); the last of several."""
    found: dict[str, Any] = json.loads(result.stdout)
    assert found["ok"] is (result.exit_code == 0)
    return {entry["check"]: (entry["status"], entry["detail"]) for entry in found["checks"]}


def test_a_good_deployment(folder: Path, backend: int) -> None:
    result = run()
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    names = ("config", "database", "master key", "signing key", "clock", "upstream")
    assert [line[:22] for line in lines[:6]] == [f"ok    {name:14}  " for name in names]
    assert f"http://127.0.0.1:{backend} (route0): accepts" in lines[5]
    assert [line[:22] for line in lines[6:]] == ["warn  admin listener  ", "skip  readiness       "]
    assert "is the gateway running?" in lines[6]
    assert "\x1b" not in result.stdout
    assert tuple(checks(run("--json"))) == (*names, "admin listener", "readiness")


def test_colours_on_a_terminal_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.cli.output.on_terminal", lambda: True)
    result = CliRunner().invoke(cli, ["doctor"], color=True)
    assert result.stdout.startswith("\x1b[32mok  \x1b[0m  config")


def test_a_bad_configuration_and_a_missing_one(folder: Path) -> None:
    configure(1, more="server: {listen: nowhere, lissen: x}\n")
    result = run("--json")
    assert result.exit_code == 1
    assert [entry["status"] for entry in json.loads(result.stdout)["checks"]] == ["FAIL", "FAIL"]
    assert "gateway.yaml:3" in result.stdout
    status, detail = checks(run("--json", "--config", "missing.yaml"))["config"]
    assert (status, "missing.yaml" in detail) == ("FAIL", True)


def test_nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: int) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GATEWAY_CONFIG", raising=False)
    configure(backend)
    result = run("--json")
    assert result.exit_code == 1
    found = checks(result)
    assert (found["database"][0], found["clock"][0], found["upstream"][0]) == ("FAIL", "skip", "ok")
    assert "gateway serve" in found["database"][1]
    assert [path.name for path in tmp_path.iterdir()] == ["gateway.yaml"]


def test_a_database_that_is_none(folder: Path) -> None:
    (folder / "gateway.db").write_bytes(b"garbage " * 1000)
    found = checks(run("--json"))
    assert found["database"] == ("FAIL", "the database gateway.db is not a SQLite database")


def test_a_missing_and_a_wrong_master_key(folder: Path) -> None:
    key = folder / "gateway.key"
    key.unlink()
    found = checks(run("--json"))
    assert (found["master key"][0], found["signing key"][0], found["clock"][0]) == ("FAIL", "skip", "ok")
    assert not key.exists()
    secret = base64.b64encode(b"k" * 32).decode()
    key.write_text(f"1:{secret}\n")
    key.chmod(0o600)
    result = run("--json")
    assert checks(result)["master key"][0] == "FAIL"
    assert secret not in result.output


def test_a_master_key_that_others_can_read_is_a_warning(folder: Path) -> None:
    (folder / "gateway.key").chmod(0o644)
    result = run("--json")
    assert (result.exit_code, checks(result)["master key"][0]) == (0, "warn")


def test_no_signing_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: int) -> None:
    monkeypatch.chdir(tmp_path)
    configure(backend)

    async def open_only() -> None:
        async with open_deployment(load(Path("gateway.yaml"), {}).settings, SystemClock()) as deployment:
            await deployment.master()

    asyncio.run(open_only())
    assert checks(run("--json", "--config", "gateway.yaml"))["signing key"][0] == "FAIL"


@pytest.mark.parametrize(("skew", "status"), [(2.0, "ok"), (3.0, "FAIL"), (-3.0, "FAIL")])
def test_clocks_apart(folder: Path, monkeypatch: pytest.MonkeyPatch, skew: float, status: str) -> None:
    async def now(_: SqliteSessions) -> float:
        return SystemClock().now() + skew

    monkeypatch.setattr(SqliteSessions, "now", now)
    found = checks(run("--json"))["clock"]
    assert (found[0], found[1]) == (status, f"{abs(skew):.1f} s from the database's, 2.5 s are allowed")


def test_every_backend_is_tried_once(folder: Path, backend: int) -> None:
    nobody = free_port()
    configure(backend, nobody, backend)
    result = run()
    assert result.exit_code == 1
    assert [line for line in result.stdout.splitlines() if "upstream" in line] == [
        f"ok    upstream        http://127.0.0.1:{backend} (route0, route2): accepts",
        f"FAIL  upstream        http://127.0.0.1:{nobody} (route1): Connection refused",
    ]


def test_a_deployment_without_routes(folder: Path) -> None:
    Path("gateway.yaml").write_text("routes: []\n")
    result = run("--json")
    assert (result.exit_code, checks(result)["upstream"][0]) == (0, "warn")


def backend_lines(folder: Path, *routes: str) -> list[str]:
    """What doctor says about the backends of these routes."""
    (folder / "gateway.yaml").write_text("routes:\n" + "".join(f"  - {{{route}}}\n" for route in routes))
    lines = run().stdout.splitlines()
    return [f"{line[:4].strip()} {line[22:]}" for line in lines if line[6:14] == "upstream"]


def test_every_backend_of_a_route_is_tried_and_unix_sockets_too(folder: Path, backend: int) -> None:
    path = folder / "app.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        urls = [f"http://127.0.0.1:{backend}", f"unix://{path}:/base", f"unix://{folder}/no.sock"]
        upstream = ", ".join(f"{{url: '{url}'}}" for url in urls)
        found = backend_lines(folder, f"name: a, match: {{path: /}}, upstream: [{upstream}]")
    assert found == [
        f"ok {urls[0]} (a): accepts",
        f"ok {urls[1]} (a): accepts",
        f"FAIL {urls[2]} (a): No such file or directory",
    ]


@contextlib.contextmanager
def answering(status: int, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """A backend on a thread that answers everything with `status`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    class Quiet(http.server.ThreadingHTTPServer):
        daemon_threads = False

        def handle_error(self, *_: object) -> None:
            """The doctor hangs up."""

    server = Quiet(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("status", "found"),
    [(204, "ok {} (a): accepts, /up is well"), (500, "FAIL {} (a): the health check was answered 500")],
)
def test_health_is_asked_for_where_configured(folder: Path, status: int, found: str) -> None:
    with answering(status) as port:
        url = f"http://127.0.0.1:{port}"
        route = f"name: a, match: {{path: /}}, upstream: '{url}', health: {{path: /up, timeout: 5s}}"
        assert backend_lines(folder, route) == [found.format(url)]


def test_tls_is_checked_with_the_configured_authority(folder: Path) -> None:
    authority = Authority(folder)
    certificate = authority.issue("127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with answering(200, context) as port:
        route = f"name: a, match: {{path: /}}, upstream: 'https://127.0.0.1:{port}', health: {{path: /up}}"
        [good] = backend_lines(folder, route + f", upstream_tls: {{ca_file: '{authority.ca_file}'}}")
        [bad] = backend_lines(folder, route)
    assert good.startswith("warn ")  # it is good for a day
    assert "accepts, /up is well; its certificate ends 20" in good
    assert bad.startswith("FAIL")
    assert "certificate verify failed" in bad


@contextlib.contextmanager
def running(settings: Settings) -> Iterator[Gateway]:
    """A gateway's admin listener, on a thread with a loop of its own."""
    opened: Future[tuple[Gateway, Callable[[], object]]] = Future()

    async def serve() -> None:
        async with open_gateway(settings, SystemClock()) as gateway:
            runner = web.AppRunner(gateway.admin(), access_log=None)
            await runner.setup()
            with contextlib.closing(Listeners.bind(settings.server)) as listeners:
                assert listeners.admin is not None
                await web.SockSite(runner, listeners.admin).start()
                stop = asyncio.Event()
                loop = asyncio.get_running_loop()
                opened.set_result((gateway, lambda: loop.call_soon_threadsafe(stop.set)))
                await stop.wait()
                await runner.cleanup()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    gateway, stop = opened.result(20)
    try:
        yield gateway
    finally:
        stop()
        thread.join()


def listens_on(listen: str) -> Settings:
    """Configure an admin listener, and a public one nobody needs."""
    text = Path("gateway.yaml").read_text()
    kept = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("server:"))
    Path("gateway.yaml").write_text(f"{kept}server: {{admin_listen: '{listen}', listen: '127.0.0.1:{free_port()}'}}\n")
    return load(Path("gateway.yaml"), {}).settings


@pytest.mark.parametrize("where", ["address", "everywhere", "unix"])
def test_a_gateway_that_runs_is_asked_how_it_is(folder: Path, where: str) -> None:
    port = free_port()
    listen = {"address": f"127.0.0.1:{port}", "everywhere": f"0.0.0.0:{port}", "unix": f"unix:{folder}/admin.sock"}
    settings = listens_on(listen[where])
    with running(settings) as gateway:
        result = run("--json")
        found = checks(result)
        assert (result.exit_code, found["admin listener"]) == (0, ("ok", f"{listen[where]} answers"))
        assert found["readiness"] == ("ok", "ready: serving, revocation feed, signing key, database, clock")
        gateway._readiness.state = "draining"
        draining = run("--json")
    assert (draining.exit_code, checks(draining)["readiness"]) == (1, ("FAIL", "serving: not serving (draining)"))


def test_somebody_else_on_the_admin_listeners_port(folder: Path) -> None:
    with answering(200) as port:
        listens_on(f"127.0.0.1:{port}")
        result = run("--json")
    found = checks(result)
    assert (result.exit_code, found["readiness"][0]) == (1, "skip")
    assert found["admin listener"] == ("FAIL", f"what answers on 127.0.0.1:{port} is no gateway")


def test_what_speaks_no_http_there_is_no_gateway_and_silence_is_not_waited_for(
    folder: Path, backend: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.cli.doctor_live._PATIENCE", 0.2)
    listens_on(f"127.0.0.1:{backend}")
    status, detail = checks(run("--json"))["admin listener"]
    assert (status, "no answer within" in detail) == ("FAIL", True)


def test_without_an_admin_listener_there_is_nobody_to_ask(folder: Path) -> None:
    configure(1, more="server: {admin_listen: null}\n")
    found = checks(run("--json"))
    assert (found["admin listener"][0], found["readiness"][0]) == ("skip", "skip")


@pytest.mark.parametrize(
    ("left", "status", "text"),
    [
        (dt.timedelta(days=14), Status.OK, "ends 2026-09-21 14:13 UTC, in 14 days"),
        (dt.timedelta(days=13, hours=23), Status.WARNING, "ends 2026-09-21 14:13 UTC, in 13 days"),
        (dt.timedelta(days=1), Status.WARNING, "ends 2026-09-21 14:13 UTC, in 1 day"),
        (dt.timedelta(0), Status.FAILED, "ended 2026-09-21 14:13 UTC"),
        (dt.timedelta(days=-3), Status.FAILED, "ended 2026-09-21 14:13 UTC"),
    ],
)
def test_certificates_that_end_soon_or_have_ended(left: dt.timedelta, status: Status, text: str) -> None:
    ends = dt.datetime(2026, 9, 21, 14, 13, tzinfo=dt.UTC)
    assert judge(ends, ends - left) == (status, text)


def test_every_certificate_is_looked_at(folder: Path, backend: int) -> None:
    authority = Authority(folder)
    certificate, key = authority.issue("127.0.0.1")
    configure(backend, more=f"server: {{admin_listen: null, tls: {{cert_file: '{certificate}', key_file: '{key}'}}}}\n")
    status, detail = checks(run("--json"))["certificate"]
    assert status == "warn"  # it is good for a day
    assert detail.startswith(f"{certificate} (server.tls): ends 20")
