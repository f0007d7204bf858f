"""Apache with mod_auth_openidc as an OAuth 2 resource server: RS256 verified on the spot, `iss` and `aud` required."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from bench.peers.peer import Peer, Setup

_MODULES = Path("/usr/lib/apache2/modules")
_WANTED = "mpm_event authn_core authz_core authz_user auth_basic proxy proxy_http proxy_wstunnel headers auth_openidc"
_CONFIG = """
ServerRoot {folder}
ServerName 127.0.0.1
PidFile {folder}/apache.pid
ErrorLog {folder}/apache.log
LogLevel error
Mutex file:{folder} default
DefaultRuntimeDir {folder}
{modules}
User www-data
Group www-data
Listen 127.0.0.1:{port}
ListenBacklog 4096
StartServers 1
ServerLimit 1
ThreadLimit 256
ThreadsPerChild 256
MinSpareThreads 1
MaxSpareThreads 256
MaxRequestWorkers 256
AsyncRequestWorkerFactor 80
MaxConnectionsPerChild 0
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout 75
Timeout 75
OIDCOAuthVerifyCertFiles {kid}#{certificate}
OIDCOAuthRemoteUserClaim sub
<Location />
  AuthType oauth20
  <RequireAll>
    Require claim iss:{issuer}
    Require claim aud:gateway
  </RequireAll>
  RequestHeader unset Authorization
</Location>
ProxyPass /live/ http://127.0.0.1:{live}/live/ upgrade=websocket flushpackets=on
ProxyPass / http://127.0.0.1:{origin}/
"""


def make(setup: Setup) -> Peer:
    """The event MPM with one process of 256 threads, no log."""
    if not (_MODULES / "mod_auth_openidc.so").exists():
        raise FileNotFoundError("mod_auth_openidc is not installed")
    certificate, path = setup.folder / "apache.pem", setup.folder / "apache.conf"
    certificate.write_bytes(_certificate(setup.public_key))
    modules = "\n".join(
        f"LoadModule {name}_module {_MODULES}/mod_{name}.so"
        for name in _WANTED.split()
        if (_MODULES / f"mod_{name}.so").exists()
    )
    path.write_text(
        _CONFIG.format(
            folder=setup.folder,
            modules=modules,
            port=setup.port,
            kid=setup.kid,
            certificate=certificate,
            issuer=setup.issuer,
            origin=setup.origin,
            live=setup.live,
        )
    )
    command = ["apache2", "-DFOREGROUND", "-f", str(path)]
    return Peer("apache", "Apache mod_auth_openidc, RS256", setup.port, command, setup.folder)


def _certificate(public_key: bytes) -> bytes:
    """The issuer's key in the only wrapping that mod_auth_openidc takes; nobody looks at the signature on it."""
    key = serialization.load_pem_public_key(public_key)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench")])
    now = dt.datetime.now(dt.UTC)
    made = x509.CertificateBuilder(issuer_name=name, subject_name=name, serial_number=x509.random_serial_number())
    made = made.not_valid_before(now).not_valid_after(now + dt.timedelta(days=1)).public_key(key)  # type: ignore[arg-type]
    signer = rsa.generate_private_key(65537, 2048)
    return made.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
