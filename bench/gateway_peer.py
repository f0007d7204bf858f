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


def start_sessions(folder: Path, count: int) -> Path:
    """Start sessions beside the running gateway; returns the file with their refresh tokens."""
    made = [sys.executable, "-m", "bench.sessions", str(folder / "gateway.yaml"), str(count)]
    tokens = folder / "tokens"
    tokens.write_bytes(subprocess.run(made, check=True, capture_output=True, timeout=120).stdout)
    return tokens


def log_in(port: int) -> dict[str, object]:
    """Log the user in and return the answer's JSON."""
    form = {"username": USER, "password": PASSWORD}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/auth/login",
        data=json.dumps(form).encode(),
        headers={"Content-Type": "application/json", "User-Agent": "bench/1.0"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: dict[str, object] = json.load(answer)
        return found
