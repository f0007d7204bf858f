"""Caddy as a plain reverse proxy: it verifies no tokens without a plug-in."""

from __future__ import annotations

from bench.peers.peer import Peer, Setup

_CONFIG = """
{{
  admin off
  auto_https off
  storage file_system {folder}/caddy-data
  log {{
    level ERROR
  }}
}}
http://127.0.0.1:{port} {{
  bind 127.0.0.1
  handle /live/* {{
    reverse_proxy 127.0.0.1:{live} {{
      flush_interval -1
    }}
  }}
  handle {{
    reverse_proxy 127.0.0.1:{origin} {{
      transport http {{
        keepalive_idle_conns 256
        keepalive_idle_conns_per_host 256
      }}
    }}
  }}
}}
"""


def make(setup: Setup) -> Peer:
    """One processor for Go, no log."""
    path = setup.folder / "Caddyfile"
    path.write_text(_CONFIG.format(port=setup.port, origin=setup.origin, live=setup.live, folder=setup.folder))
    home = f"HOME={setup.folder}"
    command = ["env", "GOMAXPROCS=1", home, "caddy", "run", "--config", str(path), "--adapter", "caddyfile"]
    return Peer("caddy", "Caddy reverse_proxy, no auth", setup.port, command, setup.folder, frozenset({"auth"}))
