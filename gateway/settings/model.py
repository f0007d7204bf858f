"""The configuration, section by section, field for field the YAML. Durations are float seconds, sizes int bytes."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from gateway.sessions.policy import BindingMode, OnReuse
from gateway.settings.route import AuthMode, Credential, RevocationMode, Route
from gateway.settings.section import Section
from gateway.settings.server import ServerSettings
from gateway.settings.types import (
    AllowedOrigin,
    CollectorUrl,
    CookieName,
    Count,
    Duration,
    Flag,
    HeaderName,
    HostName,
    Pairs,
    Prefix,
    Ratio,
    Secret,
    Text,
    Workers,
)

__all__ = ["AuthMode", "BindingMode", "Credential", "OnReuse", "RevocationMode", "Route", "Settings"]


class Algorithm(StrEnum):
    """Signature of access tokens."""

    EDDSA = "EdDSA"
    ES256 = "ES256"
    RS256 = "RS256"


class SessionsIn(StrEnum):
    """Where sessions live."""

    DATABASE = "database"
    REDIS = "redis"


class SameSite(StrEnum):
    """The cookie's SameSite attribute."""

    STRICT = "strict"
    LAX = "lax"
    NONE = "none"


class Claim(StrEnum):
    """What of the verified token an identity header carries."""

    SUB = "sub"
    USERNAME = "username"
    EMAIL = "email"
    ROLES = "roles"
    SID = "sid"


class LogFormat(StrEnum):
    """How log lines look."""

    AUTO = "auto"
    JSON = "json"
    CONSOLE = "console"


class LogLevel(StrEnum):
    """The least severity that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class StorageSettings(Section):
    """Where users, sessions, keys and events are kept."""

    database: Annotated[Text, Secret()] = Field(
        default="sqlite:///gateway.db",
        description=(
            "sqlite:///relative.db, sqlite:////absolute.db, postgresql://user@host/db, or memory: (forgotten at exit)."
        ),
    )
    database_file: Text | None = Field(default=None, description="A file that holds `database`.")
    pool: Annotated[Count, Field(ge=1, le=1000)] = Field(
        default=10, description="PostgreSQL: the most connections of a worker, beside one that listens."
    )
    redis: Annotated[Text, Secret()] | None = Field(
        default=None,
        description=(
            "redis://host:6379/0, rediss:// (TLS), unix:///path, redis+sentinel://host,host/service/0 or"
            " redis+cluster://host,host: limits count and log-outs spread over every gateway through it."
        ),
    )
    redis_file: Text | None = Field(default=None, description="A file that holds `redis`.")
    redis_ca_file: Text | None = Field(
        default=None, description="PEM file of the authorities that may vouch for Redis; null: the system's."
    )
    sessions: SessionsIn = Field(default=SessionsIn.DATABASE, description="Where sessions live.")
    master_key_file: Text | None = Field(
        default=None,
        description=(
            "File with the master key, 32 bytes base64; required with PostgreSQL, the same for every gateway."
            " null: beside the SQLite file, made (0600) when absent."
        ),
    )


class TokenSettings(Section):
    """Access tokens and the keys that sign them."""

    issuer: Text | None = Field(default=None, description="The iss claim; null: `server.public_url`.")
    audience: Text = Field(default="gateway", description="The aud claim.")
    algorithm: Algorithm = Field(default=Algorithm.EDDSA, description="Signature algorithm of new keys.")
    access_ttl: Duration = Field(default=900.0, description="Life of an access token.")
    key_rotation: Duration = Field(default=30 * 86400.0, description="Age at which a signing key is replaced.")


class IpPrefix(Section):
    """How much of an address counts as one network."""

    v4: Annotated[Count, Field(ge=8, le=32)] = Field(default=24, description="Bits of an IPv4 address.")
    v6: Annotated[Count, Field(ge=16, le=128)] = Field(default=56, description="Bits of an IPv6 address.")


class BindingSettings(Section):
    """What happens when a refresh comes from another device or network than the log-in."""

    device: BindingMode = Field(
        default=BindingMode.ENFORCE, description="Another device: off, alert, or enforce (403)."
    )
    ip: BindingMode = Field(default=BindingMode.ALERT, description="Another network: off, alert, or enforce (403).")
    ip_prefix: IpPrefix = Field(default=IpPrefix(), description="How much of an address counts as one network.")


class SessionSettings(Section):
    """How long log-ins last and how refresh tokens rotate."""

    idle_ttl: Duration = Field(default=86400.0, description="A refresh token's life; each rotation renews it.")
    absolute_ttl: Duration = Field(default=30 * 86400.0, description="The longest a log-in can last.")
    in_flight_window: Duration = Field(
        default=20.0,
        description="W, 0s to 60s: races inside it are honest. At least twice the client's own time limit.",
    )
    late_window: Duration = Field(default=180.0, description="S: after it, a replaced token that comes back is theft.")
    receipt_after: Duration = Field(
        default=60.0, description="R: use of the new access token proves arrival only after this."
    )
    on_reuse: OnReuse = Field(default=OnReuse.REVOKE_USER, description="What ends when a stolen token is used.")
    max_per_user: Annotated[Count, Field(ge=1, le=10_000)] = Field(
        default=50, description="Sessions of one user; the longest idle ends first."
    )
    binding: BindingSettings = Field(
        default=BindingSettings(), description="Binding of a session to device and network."
    )
    reauth_after: Duration | None = Field(
        default=None, description="An older log-in must prove itself again before it is refreshed; null: never."
    )
    retention: Duration = Field(
        default=7 * 86400.0, description="How long ended sessions are kept before they are deleted."
    )
    canary_interval: Duration = Field(
        default=30.0,
        description="How often a revocation of nobody measures how soon one is in force everywhere; 0s: never.",
    )


class CookieSettings(Section):
    """The refresh cookie."""

    name: CookieName = Field(default="gw_refresh", description="Name; sent as __Host-NAME (see `secure`, `domain`).")
    secure: Flag = Field(
        default=True, description="false only for plain http in development: no Secure, no name prefix."
    )
    same_site: SameSite = Field(default=SameSite.STRICT, description="SameSite attribute.")
    domain: HostName | None = Field(default=None, description="Domain attribute; the prefix is then __Secure-.")


class AuthSettings(Section):
    """The gateway's own API."""

    prefix: Prefix = Field(default="/auth", description="Path the API lives under.")
    cookie: CookieSettings = Field(default=CookieSettings(), description="The refresh cookie.")
    allowed_origins: tuple[AllowedOrigin, ...] = Field(
        default=(), description="Origins of front ends on other hosts: CORS and CSRF."
    )
    body_tokens: Flag = Field(
        default=True, description="Clients without cookies may ask for the refresh token in the body."
    )


class AssertionSettings(Section):
    """A JWT signed by the gateway for the upstream."""

    header: HeaderName | None = Field(default=None, description="Header that carries it; null: none is sent.")
    ttl: Duration = Field(default=60.0, description="Its life.")


class IdentitySettings(Section):
    """What upstreams are told about the caller."""

    headers: dict[HeaderName, Claim] = Field(
        default={
            "X-User-Id": Claim.SUB,
            "X-User-Name": Claim.USERNAME,
            "X-User-Email": Claim.EMAIL,
            "X-User-Roles": Claim.ROLES,
            "X-Session-Id": Claim.SID,
        },
        description="Header name: claim. Removed from every request, then set from the verified token.",
    )
    assertion: AssertionSettings = Field(
        default=AssertionSettings(), description="A signed assertion for the upstream."
    )
    forward_authorization: Flag = Field(default=False, description="Pass the Authorization header on to the upstream.")


class Rate(Section):
    """So many in so much time; they come back evenly."""

    attempts: Annotated[Count, Field(ge=1, le=100_000)] = Field(description="Attempts at once.")
    per: Duration = Field(description="Time after which all of them are back.")


def _rate(attempts: int, per: str) -> Rate:
    return Rate.model_validate({"attempts": attempts, "per": per})


class ThrottleSettings(Section):
    """Limits on failures; what succeeds costs nothing. A network is an IPv4 address or an IPv6 /64."""

    enabled: Flag = Field(default=True, description="false: failures are not limited.")
    pair: Rate = Field(default=_rate(10, "15m"), description="Failed log-ins on one account from one network.")
    pair_under_attack: Annotated[Count, Field(ge=1, le=100_000)] = Field(
        default=3, description="Attempts of `pair` while `account` is exceeded: nobody else is locked out."
    )
    network: Rate = Field(default=_rate(100, "15m"), description="Failed log-ins from one network, whatever account.")
    account: Rate = Field(default=_rate(100, "15m"), description="Failed log-ins on one account from all networks.")
    forged_refresh: Rate = Field(default=_rate(30, "1m"), description="Forged refresh tokens from one network.")
    longest_wait: Duration = Field(default=900.0, description="The longest a throttled client has to wait.")


class HashingSettings(Section):
    """How many passwords are hashed at a time. More cost memory (19 MiB each) and CPU that requests would have had."""

    permits: Workers = Field(
        default=0, description="Hashes at once in a worker; auto (0): the cores but one, shared by the workers."
    )
    queue: Annotated[Count, Field(le=10_000)] = Field(
        default=32, description="Log-ins that may wait for a hash; more are answered 503 with Retry-After."
    )


class PasswordSettings(Section):
    """What a new password must be, and how passwords are hashed."""

    min_length: Annotated[Count, Field(ge=1, le=256)] = Field(
        default=8, description="Fewest characters of a new password."
    )
    hashing: HashingSettings = Field(default=HashingSettings(), description="The threads passwords are hashed in.")


class LoggingSettings(Section):
    """What is written, and how."""

    format: LogFormat = Field(default=LogFormat.AUTO, description="auto: readable on a terminal, JSON otherwise.")
    level: LogLevel = Field(default=LogLevel.INFO, description="The least severity that is written.")
    access_log: Flag = Field(default=True, description="One `proxy.request` line per proxied request.")
    events_keep: Annotated[Count, Field(le=10_000_000)] = Field(
        default=100_000, description="Security events kept in the store for `gateway events`."
    )


class TracingSettings(Section):
    """OpenTelemetry traces: `pip install 'auth-gateway[tracing]'`."""

    endpoint: CollectorUrl | None = Field(
        default=None, description="OTLP/HTTP URL of a collector, such as http://127.0.0.1:4318/v1/traces; null: off."
    )
    sample_ratio: Ratio = Field(
        default=0.1,
        description="Share of requests that are traced, 0 to 1; a trusted proxy's sampled flag decides for its own.",
    )
    service_name: Text = Field(default="auth-gateway", description="service.name of the spans.")
    headers: Annotated[Pairs, Secret(whole=True)] | None = Field(
        default=None, description="Sent to the collector: name=value,name=value with values percent-encoded."
    )
    headers_file: Text | None = Field(default=None, description="A file that holds `headers`.")
    timeout: Duration = Field(default=10.0, description="The longest one batch may take, second attempts included.")


class Settings(Section):
    """Everything that can be configured. A file with nothing but `routes` is enough."""

    server: ServerSettings = Field(
        default=ServerSettings(), description="Where the gateway listens and how it is reached."
    )
    storage: StorageSettings = Field(default=StorageSettings(), description="Where users, sessions and keys are kept.")
    tokens: TokenSettings = Field(default=TokenSettings(), description="Access tokens and the keys that sign them.")
    sessions: SessionSettings = Field(
        default=SessionSettings(), description="How long log-ins last, how tokens rotate."
    )
    auth: AuthSettings = Field(default=AuthSettings(), description="The gateway's own API.")
    identity: IdentitySettings = Field(
        default=IdentitySettings(), description="What upstreams are told about the caller."
    )
    throttle: ThrottleSettings = Field(default=ThrottleSettings(), description="Limits on failed log-ins.")
    passwords: PasswordSettings = Field(default=PasswordSettings(), description="New passwords and hashing.")
    logging: LoggingSettings = Field(default=LoggingSettings(), description="What is written, and how.")
    tracing: TracingSettings = Field(default=TracingSettings(), description="OpenTelemetry traces.")
    routes: tuple[Route, ...] = Field(default=(), description="What is matched, who may pass, and where it goes.")

    @property
    def issuer(self) -> str:
        """The iss claim in force."""
        return self.tokens.issuer or self.server.public_url
