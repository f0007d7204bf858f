"""nginx as the origin every proxy stands before, and as the proxy to be measured against."""

from __future__ import annotations

from pathlib import Path

_FRAME = """
daemon off; master_process off; worker_processes 1; pid {folder}/{name}.pid; error_log {folder}/{name}.log warn;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 75s; tcp_nodelay on; types {{ }}
  client_body_temp_path {folder}/{name}-b; proxy_temp_path {folder}/{name}-p; fastcgi_temp_path {folder}/{name}-f;
  uwsgi_temp_path {folder}/{name}-u; scgi_temp_path {folder}/{name}-s; client_max_body_size 0; default_type text/plain;
{body}
}}
"""

_ORIGIN = """
  server {{ listen 127.0.0.1:{port} backlog=4096;
    location = /api/small {{
      default_type application/json; return 200 '{{"id":1,"name":"widget","ok":true,"n":12345678}}'; }}
    location /api/files/ {{ alias {folder}/files/; }} }}
"""

_PROXY = """
  upstream origin {{ server 127.0.0.1:{origin}; keepalive 256; keepalive_requests 1000000000; }}
  server {{ listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $host; }} }}
"""


def origin(folder: Path, port: int) -> list[str]:
    """The command of an origin that answers 48 bytes of JSON at /api/small."""
    return _command(folder, "origin", _ORIGIN.format(port=port, folder=folder))


def proxy(folder: Path, port: int, origin_port: int) -> list[str]:
    """The command of a plain reverse proxy without authentication."""
    return _command(folder, "proxy", _PROXY.format(port=port, origin=origin_port))


def _command(folder: Path, name: str, body: str) -> list[str]:
    path = folder / f"{name}.conf"
    path.write_text(_FRAME.format(folder=folder, name=name, body=body))
    return ["nginx", "-e", str(folder / f"{name}.log"), "-p", str(folder), "-c", str(path)]
