"""The gateway as its users run it: a YAML file, `gateway serve`; log, identity headers, cache and receipts on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bench.peers.peer import Peer

COMMAND = [sys.executable, "-m", "gateway"]

# RS256 for the comparison with HAProxy and Apache, which verify the same tokens; access tokens that outlive the bench.
_CONFIG = """
server: {{listen: "127.0.0.1:{port}", admin_listen: null, public_url: "http://127.0.0.1:{port}"}}
storage: {{database: "sqlite:///{folder}/gateway.db"}}
tokens: {{algorithm: {algorithm}, access_ttl: 1h}}
auth: {{cookie: {{secure: false}}}}
logging: {{format: json}}
routes:
  - {{name: api, match: {{path: /api/}}, upstream: "http://127.0.0.1:{origin}"}}
  - {{name: live, match: {{path: /live/}}, upstream: "http://127.0.0.1:{live}"}}
"""


def make(folder: Path, port: int, origin: int, live: int, *, name: str = "gateway", algorithm: str = "RS256") -> Peer:
    """Write the configuration into `folder`; returns the gateway to run."""
    path = folder / "gateway.yaml"
    path.write_text(_CONFIG.format(port=port, folder=folder, origin=origin, live=live, algorithm=algorithm))
    command = [*COMMAND, "serve", "--config", str(path)]
    return Peer(name, "gateway: verify, identity, log", port, command, folder)


def start_sessions(folder: Path, count: int, *, passwords: bool = False, access: bool = False) -> Path:
    """Start sessions beside the gateway; returns a file with a token a line: of refresh, or of access."""
    made = [sys.executable, "-m", "bench.sessions", str(folder / "gateway.yaml"), str(count)]
    made += ["--access"] * access + ["--passwords"] * passwords
    tokens = folder / ("access-tokens" if access else "refresh-tokens")
    tokens.write_bytes(subprocess.run(made, check=True, stdout=subprocess.PIPE, timeout=120).stdout)
    return tokens
