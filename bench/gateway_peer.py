"""The gateway as its users run it: a YAML file, a user, `gateway serve`; log, identity headers and cache on."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

USER, PASSWORD = "bench", "correct horse battery staple"
COMMAND = [sys.executable, "-m", "gateway"]


def configure(folder: Path, port: int, origin: int) -> Path:
    """Write the configuration and add the user; returns the path of the YAML."""
    path = folder / "gateway.yaml"
    path.write_text(
        f"""
server: {{listen: "127.0.0.1:{port}", admin_listen: null, public_url: "http://127.0.0.1:{port}"}}
storage: {{database: "sqlite:///{folder}/gateway.db"}}
sessions: {{max_per_user: 1000}}
auth: {{cookie: {{secure: false}}}}
logging: {{format: json}}
routes:
  - {{name: api, match: {{path: /api/}}, upstream: "http://127.0.0.1:{origin}"}}
"""
    )
    subprocess.run(
        [*COMMAND, "users", "add", USER, "--role", "user", "--password-stdin", "--config", str(path)],
        input=PASSWORD.encode(),
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return path


def serve(config: Path) -> list[str]:
    """The command that runs the gateway."""
    return [*COMMAND, "serve", "--config", str(config)]


def log_in(port: int, *, body: bool = False) -> dict[str, object]:
    """Log the user in and return the answer's JSON; with `body` it carries the refresh token."""
    form = {"username": USER, "password": PASSWORD} | ({"token_delivery": "body"} if body else {})
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/auth/login",
        data=json.dumps(form).encode(),
        headers={"Content-Type": "application/json", "User-Agent": "bench/1.0"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: dict[str, object] = json.load(answer)
        return found
