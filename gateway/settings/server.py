"""The `server` section: where the gateway listens, what comes before HTTP, and what a client may take."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from gateway.settings.section import Section
from gateway.settings.types import (
    AdminToken,
    Count,
    Duration,
    FileMode,
    Flag,
    ListenAddress,
    Peer,
    PublicUrl,
    Secret,
    Size,
    Text,
    Workers,
)


class TlsVersion(StrEnum):
    """The oldest version of TLS that is spoken."""

    TLS_1_2 = "1.2"
    TLS_1_3 = "1.3"


class TlsSettings(Section):
    """TLS on the public listener. The files are loaded again when they change."""

    cert_file: Text = Field(description="The certificate and what chains it to its authority, PEM.")
    key_file: Text = Field(description="Its private key, PEM.")
    key_password_file: Text | None = Field(default=None, description="A file with the key's password.")
    min_version: TlsVersion = Field(default=TlsVersion.TLS_1_2, description="The oldest version spoken: 1.2 or 1.3.")
    client_ca_file: Text | None = Field(
        default=None, description="Authorities, PEM: only clients with a certificate of theirs may connect."
    )


class ClientLimitSettings(Section):
    """What one client, and all of them, may take of the public listener."""

    connections: Annotated[Count, Field(le=1_000_000)] = Field(
        default=20_000, description="Connections in all, of a worker; more are closed at once. 0: no limit."
    )
    connections_per_client: Annotated[Count, Field(le=1_000_000)] = Field(
        default=0,
        description="Connections of one IPv4 address or IPv6 /64; trusted proxies are exempt. 0: no limit.",
    )
    header_bytes: Size = Field(default=64 * 1024, description="Largest request head.")
    headers: Annotated[Count, Field(ge=16, le=1000)] = Field(default=128, description="Most header lines of a request.")
    header_time: Duration = Field(default=15.0, description="From the first byte of a request head to its last.")
    keep_alive: Duration = Field(default=75.0, description="Idle time between requests.")
    stall: Duration = Field(default=60.0, description="A client that reads nothing is dropped after this.")
    body_rate: Size = Field(
        default=500, description="Fewest bytes per second of a request body, averaged over `body_window`. 0: any."
    )
    body_window: Duration = Field(default=20.0, description="Time over which `body_rate` is averaged.")


class ReloadSettings(Section):
    """When the configuration is read again. SIGHUP always does it."""

    watch: Flag = Field(default=True, description="Read it when the file has changed.")
    interval: Duration = Field(default=2.0, description="Time between two looks at the file.")


class ServerSettings(Section):
    """Where the gateway listens and how it is reached."""

    listen: ListenAddress = Field(
        default="127.0.0.1:8080", description="The public listener: host:port, or unix:/path of a socket."
    )
    admin_listen: ListenAddress | None = Field(
        default="127.0.0.1:9090",
        description="The listener for probes and operators: host:port or unix:/path; null turns it off.",
    )
    admin_token: Annotated[AdminToken, Secret(whole=True)] | None = Field(
        default=None,
        description="Bearer token of the admin API, at least 32 characters; null: there is no admin API.",
    )
    admin_token_file: Text | None = Field(default=None, description="A file that holds `admin_token`.")
    socket_mode: FileMode = Field(default="0660", description="Permissions of unix sockets, octal, in quotes.")
    public_url: PublicUrl = Field(
        default="http://127.0.0.1:8080",
        description="The URL browsers use: own origin and token issuer. Follows `listen` while it is not set.",
    )
    workers: Workers = Field(default=1, description="Worker processes; auto (0): one per core.")
    worker_timeout: Duration = Field(
        default=30.0, description="With several workers: one that shows no sign of life for this long is replaced."
    )
    cpu_affinity: Flag = Field(
        default=True,
        description="Keep the threads of a worker on one CPU, and move them when others crowd it (Linux).",
    )
    dns_ttl: Duration = Field(
        default=30.0,
        description="How long addresses of upstream host names are used before they are looked up again.",
    )
    trusted_proxies: tuple[Peer, ...] = Field(
        default=(),
        description="CIDRs, and `unix` for peers on a unix socket, whose X-Forwarded-* headers are believed.",
    )
    tls: TlsSettings | None = Field(default=None, description="TLS on the public listener; null: plain HTTP.")
    proxy_protocol: tuple[Peer, ...] = Field(
        default=(),
        description="CIDRs, and `unix`, whose connections must begin with a PROXY protocol header (v1 or v2).",
    )
    limits: ClientLimitSettings = Field(
        default=ClientLimitSettings(), description="What a client may take of the public listener."
    )
    reload: ReloadSettings = Field(
        default=ReloadSettings(), description="When the configuration is read again, besides SIGHUP."
    )
