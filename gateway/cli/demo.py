"""`gateway demo`: the main job with no set-up, gone without a trace afterwards."""

from __future__ import annotations

import secrets
import shutil
import socket
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from gateway.app import Gateway
    from gateway.settings.model import Settings

USER, EMAIL, ROLES = "demo", "demo@example.com", ("user",)

_LINES = """
  Gateway   {url}
  User      {user}
  Password  {password}

Paste these into another terminal, all at once or one by one; the log of the gateway appears here.

  # log in: an access token in the answer, a refresh token in an HttpOnly cookie
  TOKEN=$({login} | tee /dev/stderr | {pick})

  # call the backend: it is told who you are, whatever you claim yourself
  curl -s -w '\\n' -H "Authorization: Bearer $TOKEN" -H 'X-User-Id: somebody-else' {url}/api/hello

  # refresh: a new access token and a new cookie (the old one is kept aside, as a thief would have it)
  cp {jar} {stolen}
  TOKEN=$(curl -s -b {jar} -c {jar} -X POST {url}/auth/refresh | tee /dev/stderr | {pick})

  # call with the new token: now the gateway knows that the answer arrived
  curl -s -w '\\n' -H "Authorization: Bearer $TOKEN" {url}/api/hello

  # the thief replays the old cookie: every session of the user ends, look for session.refresh_reused in the log
  curl -s -w '\\n' -b {stolen} -X POST {url}/auth/refresh
  curl -s -w '\\n' -H "Authorization: Bearer $TOKEN" {url}/api/hello

  # log in again, log out: the access token is refused at once
  TOKEN=$({login} | {pick})
  curl -s -o /dev/null -w '%{{http_code}}\\n' -b {jar} -X POST {url}/auth/logout
  curl -s -w '\\n' -H "Authorization: Bearer $TOKEN" {url}/api/hello

Ctrl-C stops the demo and removes everything it made.
"""
_LOGIN = (
    "curl -s -c {jar} -H 'Content-Type: application/json' "
    """-d '{{"username":"{user}","password":"{password}"}}' {url}/auth/login"""
)
_PICK = """sed -E 's/.*"access_token":"([^"]+)".*/\\1/'"""


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), help="Port of the gateway; otherwise a free one.")
def demo(port: int | None) -> None:
    """Start a gateway, a backend and a user, and print lines to paste."""
    from gateway.runtime.listeners import bind
    from gateway.runtime.server import run

    folder = Path(tempfile.mkdtemp(prefix="gateway-demo-"))
    try:
        with closing(bind("127.0.0.1:0")) as backend:
            if port is None:
                with closing(bind("127.0.0.1:0")) as probe:
                    port = probe.getsockname()[1]
            settings = _settings(folder, port, backend.getsockname()[1])
            run(settings, when_ready=_Show(folder, backend))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    click.echo("\nThe demo has ended; nothing is left of it.")


def _settings(folder: Path, port: int, backend: int) -> Settings:
    """Windows of zero: what takes minutes in earnest (R, S, W of docs/rotation.md) shows at once."""
    from gateway.settings.loader import load

    return load(
        None,
        {},
        {
            "server.listen": f"127.0.0.1:{port}",
            "server.admin_listen": None,
            "storage.database": f"sqlite:///{folder}/gateway.db",
            "sessions.in_flight_window": "0s",
            "sessions.late_window": "0s",
            "sessions.receipt_after": "0s",
            "auth.cookie.secure": False,
            "routes": [{"name": "sample", "match": {"path": "/"}, "upstream": f"http://127.0.0.1:{backend}"}],
        },
    ).settings


class _Show:
    """Once the gateway serves: the backend, the user, and the lines to paste."""

    def __init__(self, folder: Path, backend: socket.socket) -> None:
        self._folder = folder
        self._backend = backend

    async def __call__(self, gateway: Gateway) -> None:
        from gateway.runtime.sample_upstream import start_sample_upstream

        await start_sample_upstream(self._backend)
        password = secrets.token_urlsafe(9)
        await gateway.users.add(USER, password, email=EMAIL, roles=ROLES)
        facts = {
            "url": gateway.settings.server.public_url,
            "user": USER,
            "password": password,
            "jar": self._folder / "cookies",
            "stolen": self._folder / "stolen",
        }
        click.echo(_LINES.format(**facts, login=_LOGIN.format(**facts), pick=_PICK))
