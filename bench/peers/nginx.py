"""nginx as the origin every proxy stands before, and as the proxy to be measured against."""

from __future__ import annotations

from pathlib import Path

from bench.peers.peer import Peer, Setup

_FRAME = """
daemon off; master_process off; worker_processes 1; pid {folder}/{name}.pid; error_log {folder}/{name}.log warn;
worker_rlimit_nofile 20000;
events {{ worker_connections 12000; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 75s; tcp_nodelay on; types {{ }}
  client_body_temp_path {folder}/{name}-b; proxy_temp_path {folder}/{name}-p; fastcgi_temp_path {folder}/{name}-f;
  uwsgi_temp_path {folder}/{name}-u; scgi_temp_path {folder}/{name}-s; client_max_body_size 0; default_type text/plain;
{body}
}}
"""

# An upload is read whole before it is answered: the second server answers the first, which was told to buffer.
_ORIGIN = """
  upstream done {{ server unix:{folder}/done.sock; keepalive 64; keepalive_requests 1000000000; }}
  server {{ listen unix:{folder}/done.sock; return 200 'taken\n'; }}
  server {{ listen 127.0.0.1:{port} backlog=4096;
    location = /api/small {{
      default_type application/json; return 200 '{{"id":1,"name":"widget","ok":true,"n":12345678}}'; }}
    location = /api/upload {{
      client_body_buffer_size 256k; proxy_pass http://done; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_pass_request_body off; proxy_set_header Content-Length ""; }}
    location /api/files/ {{ alias {folder}/files/; sendfile on; open_file_cache max=16; }} }}
"""

_PROXY = """
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  upstream origin {{ server 127.0.0.1:{origin}; keepalive 256; keepalive_requests 1000000000; }}
  upstream live {{ server 127.0.0.1:{live}; keepalive 256; }}
  server {{ listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $host; proxy_max_temp_file_size 0; }}
    location /live/ {{
      proxy_pass http://live; proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_buffering off;
      proxy_set_header Connection $connection_upgrade; proxy_set_header Host $host; }} }}
"""


def origin(folder: Path, port: int) -> list[str]:
    """The command of an origin: 48 bytes of JSON at /api/small, the folder `files` at /api/files/, /api/upload."""
    return _command(folder, "origin", _ORIGIN.format(port=port, folder=folder))


def make(setup: Setup) -> Peer:
    """A plain reverse proxy without authentication."""
    body = _PROXY.format(port=setup.port, origin=setup.origin, live=setup.live)
    command = _command(setup.folder, "nginx", body)
    return Peer("nginx", "nginx proxy_pass, no auth", setup.port, command, setup.folder, frozenset({"auth"}))


def _command(folder: Path, name: str, body: str) -> list[str]:
    path = folder / f"{name}.conf"
    path.write_text(_FRAME.format(folder=folder, name=name, body=body))
    return ["nginx", "-e", str(folder / f"{name}.log"), "-p", str(folder), "-c", str(path)]
