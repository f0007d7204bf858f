"""What `gateway doctor` asks of a gateway that runs: whether it is there, and whether it is ready."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

from gateway.cli.finding import Finding, Status, failed
from gateway.settings.server import ServerSettings
from gateway.settings.types import split_listen, unix_path

_PATIENCE: Final = 10.0
_LONGEST: Final = 1 << 20
_ANYWHERE: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


class _NoGateway(Exception):
    """Something else answers."""


async def examine_running(server: ServerSettings) -> list[Finding]:
    """The admin listener, and what the gateway behind it says of itself. One that does not run is no failure: the
    others of these checks are for the time before it does."""
    listen = server.admin_listen
    if listen is None:
        skipped = Finding("admin listener", Status.SKIPPED, "server.admin_listen is null: no probes, no metrics")
        return [skipped, Finding("readiness", Status.SKIPPED, "needs the admin listener")]
    try:
        async with asyncio.timeout(_PATIENCE):
            _, alive = await _get(listen, "/livez")
            status, body = await _get(listen, "/readyz?verbose")
    except (ConnectionRefusedError, FileNotFoundError):
        nobody = f"nothing listens on {listen}: is the gateway running?"
        return [Finding("admin listener", Status.WARNING, nobody), _skipped()]
    except OSError as error:
        return [failed("admin listener", f"{listen}: {_why(error)}"), _skipped()]
    except _NoGateway:
        return [failed("admin listener", f"what answers on {listen} is no gateway"), _skipped()]
    if alive != b"ok\n":
        return [failed("admin listener", f"what answers on {listen} is no gateway"), _skipped()]
    return [Finding("admin listener", Status.OK, f"{listen} answers"), *_readiness(status, body)]


def _readiness(status: int, body: bytes) -> list[Finding]:
    """One line when all is well, else one for each check that does not pass."""
    try:
        document: dict[str, Any] = json.loads(body)
        checks: dict[str, dict[str, Any]] = document["checks"]
        wrong = {name: str(check["detail"]) for name, check in checks.items() if not check["ok"]}
        well = bool(document["ready"]) and status == 200
    except (ValueError, KeyError, TypeError, AttributeError):
        return [failed("readiness", "its report cannot be read: is it another version?")]
    if well:
        return [Finding("readiness", Status.OK, f"ready: {', '.join(checks)}")]
    return [failed("readiness", f"{name}: {problem}") for name, problem in wrong.items()] or [
        failed("readiness", f"answered {status}")
    ]


async def _get(listen: str, target: str) -> tuple[int, bytes]:
    """Status and body. One request on a connection of its own: no client library for two of them."""
    path = unix_path(listen)
    if path is not None:
        reader, writer = await asyncio.open_unix_connection(path)
    else:
        host, port = split_listen(listen)
        reader, writer = await asyncio.open_connection(_ANYWHERE.get(host, host), port)
    try:
        head = f"GET {target} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json, text/plain;q=0.5\r\n"
        writer.write(f"{head}Connection: close\r\n\r\n".encode())
        answer = bytearray()
        while len(answer) <= _LONGEST and (data := await reader.read(65536)):
            answer += data
    finally:
        writer.close()
        await asyncio.sleep(0)  # the loop closes it
    begin, blank, body = bytes(answer).partition(b"\r\n\r\n")
    line = begin.split(b"\r\n", 1)[0].split(b" ", 2)
    if not blank or len(line) < 2 or not line[0].startswith(b"HTTP/1.") or not line[1].isdigit():
        raise _NoGateway
    return int(line[1]), body


def _skipped() -> Finding:
    return Finding("readiness", Status.SKIPPED, "needs the admin listener")


def _why(error: OSError) -> str:
    return f"no answer within {_PATIENCE:.0f} s" if isinstance(error, TimeoutError) else error.strerror or str(error)
