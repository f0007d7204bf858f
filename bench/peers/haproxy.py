"""HAProxy as an API gateway: signature by `jwt_verify` (RS256), algorithm, issuer, audience and expiry by hand."""

from __future__ import annotations

from bench.peers.peer import Peer, Setup

_CONFIG = """
global
  nbthread 1
  maxconn 9000
defaults
  mode http
  timeout client 75s
  timeout server 75s
  timeout connect 5s
  timeout tunnel 1h
  option http-keep-alive
  http-reuse always
frontend api
  bind 127.0.0.1:{port} backlog 4096
  http-request deny deny_status 401 unless {{ http_auth_bearer -m found }}
  http-request set-var(txn.bearer) http_auth_bearer
  http-request set-var(txn.alg) var(txn.bearer),jwt_header_query('$.alg')
  http-request set-var(txn.iss) var(txn.bearer),jwt_payload_query('$.iss')
  http-request set-var(txn.aud) var(txn.bearer),jwt_payload_query('$.aud')
  http-request set-var(txn.exp) var(txn.bearer),jwt_payload_query('$.exp','int')
  http-request set-var(txn.now) date()
  http-request deny deny_status 401 unless {{ var(txn.alg) -m str RS256 }}
  http-request deny deny_status 401 unless {{ var(txn.iss) -m str {issuer} }}
  http-request deny deny_status 401 unless {{ var(txn.aud) -m str gateway }}
  http-request deny deny_status 401 unless {{ var(txn.exp),sub(txn.now) -m int gt 0 }}
  http-request deny deny_status 401 unless {{ var(txn.bearer),jwt_verify(txn.alg,"{key}") -m int 1 }}
  http-request set-header X-User-Id %[var(txn.bearer),jwt_payload_query('$.sub')]
  http-request del-header Authorization
  use_backend live if {{ path_beg /live/ }}
  default_backend origin
backend origin
  server origin 127.0.0.1:{origin}
backend live
  option http-no-delay
  server live 127.0.0.1:{live}
"""


def make(setup: Setup) -> Peer:
    """One thread, no log."""
    key, path = setup.folder / "haproxy.pem", setup.folder / "haproxy.cfg"
    key.write_bytes(setup.public_key)
    path.write_text(_CONFIG.format(port=setup.port, origin=setup.origin, live=setup.live, issuer=setup.issuer, key=key))
    command = ["haproxy", "-db", "-f", str(path)]
    return Peer("haproxy", "HAProxy, jwt_verify RS256", setup.port, command, setup.folder)
