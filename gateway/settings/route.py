"""The `routes` section: what is matched, who may pass, and where it goes."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

from gateway.settings.section import Section
from gateway.settings.types import (
    Count,
    Duration,
    Flag,
    HeaderName,
    HeaderValue,
    HostName,
    HostRule,
    Method,
    Role,
    RouteName,
    RoutePath,
    Size,
    Status,
    Text,
    UpstreamUrl,
)


class AuthMode(StrEnum):
    """Whether a route asks for an access token."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    NONE = "none"


class Credential(StrEnum):
    """How a caller may prove who it is."""

    BEARER = "bearer"
    COOKIE = "cookie"


class RevocationMode(StrEnum):
    """What a route does while the revocation feed is stale."""

    BEST_EFFORT = "best_effort"
    STRICT = "strict"


class Match(Section):
    """Which requests a route takes: the longest path wins, a host before any length."""

    host: HostRule | None = Field(
        default=None, description="Host name the request must name, without port, or *.example.com; null: any."
    )
    path: RoutePath = Field(
        description="A path ending in / is a prefix (everything below it); otherwise exactly this path."
    )
    methods: Annotated[tuple[Method, ...], Field(min_length=1)] | None = Field(
        default=None, description="Methods the route takes, others get 405; null: all."
    )


class Upstream(Section):
    """A backend behind a route."""

    url: UpstreamUrl = Field(
        description="Scheme, host and port of the backend; a path is put before the request's. Or "
        "unix:///path/of/socket, with unix:///path/of/socket:/base for a path."
    )
    weight: Annotated[Count, Field(ge=1, le=1000)] = Field(
        default=1, description="Share of the requests, relative to the others."
    )


class Require(Section):
    """What a caller must have besides a valid access token."""

    roles: tuple[Role, ...] = Field(default=(), description="Any of these roles; otherwise 403. Empty: no role needed.")
    mfa: Flag = Field(default=False, description="A log-in with a second factor.")


class Timeouts(Section):
    """Time limits towards the upstream."""

    connect: Duration = Field(default=5.0, description="Until the connection stands; then 502.")
    response: Duration = Field(
        default=30.0, description="From the whole request sent to the head of the answer; then 504."
    )
    idle: Duration = Field(default=60.0, description="Silence in the middle of a body, or on an upgraded connection.")
    total: Duration | None = Field(
        default=None,
        description="For the whole exchange, streams too; then 504, or a broken connection once the answer began. "
        "null: none.",
    )


class RequestRate(Section):
    """So many requests in so much time; they come back evenly."""

    requests: Annotated[Count, Field(ge=1, le=1_000_000)] = Field(description="Requests at once.")
    per: Duration = Field(description="Time after which all of them are back.")


class Limits(Section):
    """How much a request and its answer may be, and how many there may be. A client is the user, else an IPv4 address
    or IPv6 /64.
    """

    body: Size = Field(default=100 * 1024 * 1024, description="Largest request body; over it: 413.")
    response_body: Size | None = Field(
        default=None,
        description="Largest response body; over it: 502, or a broken connection once the answer began. null: any.",
    )
    rate: RequestRate | None = Field(
        default=None, description="Requests of one client, as {requests, per}; over it: 429. null: any."
    )
    concurrency: Annotated[Count, Field(le=1_000_000)] = Field(
        default=0, description="Requests under way on the route, in a worker; over it: 503. 0: any."
    )
    concurrency_per_client: Annotated[Count, Field(le=1_000_000)] = Field(
        default=0, description="Requests of one client under way on the route, in a worker; over it: 429. 0: any."
    )


class HeaderChanges(Section):
    """What a route changes among the headers it passes on."""

    set: Annotated[dict[HeaderName, HeaderValue], Field(max_length=64)] = Field(
        default={}, description="Name: value; replaces what is there under that name."
    )
    remove: Annotated[tuple[HeaderName, ...], Field(max_length=64)] = Field(
        default=(), description="Names taken out, as backends fold them: X-A stands for X_A too."
    )


class Health(Section):
    """Active health checks of the upstreams."""

    path: RoutePath | None = Field(default=None, description="Path asked for; null: no active checks.")
    interval: Duration = Field(default=10.0, description="Time between two checks, give or take a fifth.")
    timeout: Duration = Field(default=5.0, description="Until the answer must be there.")
    healthy_after: Annotated[Count, Field(ge=1, le=100)] = Field(
        default=2, description="Good checks in a row after which an upstream gets requests again."
    )
    unhealthy_after: Annotated[Count, Field(ge=1, le=100)] = Field(
        default=3, description="Bad checks in a row after which it gets none. The very first check counts at once."
    )
    expect: tuple[Status, ...] = Field(default=(), description="Statuses that are good; empty: 200 to 399.")


class Breaker(Section):
    """When an upstream is left alone because of what happened to requests."""

    failures: Annotated[Count, Field(ge=1, le=1000)] = Field(
        default=5,
        description="Failures in a row: no connection, no answer, or one of statuses.",
    )
    open_for: Duration = Field(
        default=10.0, description="For how long; then one request tries. Doubled each time it fails again."
    )
    longest: Duration = Field(default=60.0, description="The most open_for grows to.")
    statuses: tuple[Status, ...] = Field(
        default=(),
        description="Answers that are failures too, such as [502, 503]: clients who can cause them can cause this.",
    )
    last: Flag = Field(
        default=False, description="Leave the last upstream of a route alone too: 503 at once instead of trying."
    )


class UpstreamTls(Section):
    """TLS towards https upstreams. The files are read again when they change."""

    ca_file: Text | None = Field(
        default=None, description="PEM file of the authorities to believe; null: the system's."
    )
    cert_file: Text | None = Field(default=None, description="PEM file of the gateway's own certificate and its chain.")
    key_file: Text | None = Field(
        default=None, description="PEM file of its key, not encrypted; null: the key is in cert_file."
    )
    server_name: HostName | None = Field(
        default=None, description="Name asked for (SNI) and checked in the certificate; null: the host of the URL."
    )


def _upstreams(value: object) -> object:
    return ({"url": value},) if isinstance(value, str) else value


_UPSTREAM_SCHEMA = {
    "anyOf": [
        {"type": "string", "format": "uri"},
        {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "properties": {
                    "url": {"type": "string", "format": "uri"},
                    "weight": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 1},
                },
                "required": ["url"],
                "additionalProperties": False,
            },
        },
    ]
}
Upstreams = Annotated[
    tuple[Upstream, ...], Field(min_length=1), BeforeValidator(_upstreams), WithJsonSchema(_UPSTREAM_SCHEMA)
]


class Route(Section):
    """One entry of `routes`."""

    name: RouteName = Field(description="Name of the route in logs and metrics; unique.")
    match: Match = Field(description="Which requests the route takes.")
    upstream: Upstreams = Field(description="Where they go: a URL, or a list of {url, weight}.")
    strip_prefix: Flag = Field(default=False, description="Leave the matched prefix out of the path that is sent.")
    preserve_host: Flag = Field(default=True, description="Send the client's Host; false: the upstream's own.")
    auth: AuthMode = Field(
        default=AuthMode.REQUIRED,
        description="required: 401 without a valid token. optional: may be absent, a bad one is 401. none: not read.",
    )
    credentials: Annotated[tuple[Credential, ...], Field(min_length=1)] = Field(
        default=(Credential.BEARER,), description="How callers prove who they are."
    )
    require: Require = Field(default=Require(), description="What a caller must have besides a valid access token.")
    revocation: RevocationMode = Field(
        default=RevocationMode.BEST_EFFORT,
        description="While the revocation feed is stale: best_effort serves and logs, strict answers 503.",
    )
    passive: Flag = Field(default=False, description="Polling: does not count as activity of the session.")
    allow_encoded_slash: Flag = Field(default=False, description="Let %2F pass in paths; otherwise 400.")
    timeouts: Timeouts = Field(default=Timeouts(), description="Time limits towards the upstream.")
    limits: Limits = Field(default=Limits(), description="How much a request and its answer may be, and how many.")
    health: Health = Field(default=Health(), description="Active health checks of the upstreams.")
    request_headers: HeaderChanges = Field(
        default=HeaderChanges(), description="Changed in requests before the gateway adds its own headers."
    )
    response_headers: HeaderChanges = Field(
        default=HeaderChanges(), description="Changed in the backend's answers, not in those of the gateway itself."
    )
    breaker: Breaker | None = Field(
        default=Breaker(), description="Leave an upstream alone after failures in a row; null: never."
    )
    upstream_tls: UpstreamTls = Field(
        default=UpstreamTls(), description="TLS towards https upstreams: whom to believe, and who the gateway is."
    )
    retries: Annotated[Count, Field(le=5)] = Field(
        default=1,
        description="More tries, on another upstream where there is one: when no connection could be made, and of "
        "idempotent requests before a byte of the answer came.",
    )
