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
    HostRule,
    Method,
    Role,
    RouteName,
    RoutePath,
    Size,
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

    url: UpstreamUrl = Field(description="Scheme, host and port of the backend; a path is put before the request's.")
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


class RequestRate(Section):
    """So many requests in so much time; they come back evenly."""

    requests: Annotated[Count, Field(ge=1, le=1_000_000)] = Field(description="Requests at once.")
    per: Duration = Field(description="Time after which all of them are back.")


class Limits(Section):
    """How much a request may be, and how many there may be. A client is the user, else an IPv4 address or IPv6 /64."""

    body: Size = Field(default=100 * 1024 * 1024, description="Largest request body; over it: 413.")
    rate: RequestRate | None = Field(
        default=None, description="Requests of one client, as {requests, per}; over it: 429. null: any."
    )
    concurrency: Annotated[Count, Field(le=1_000_000)] = Field(
        default=0, description="Requests under way on the route, in a worker; over it: 503. 0: any."
    )
    concurrency_per_client: Annotated[Count, Field(le=1_000_000)] = Field(
        default=0, description="Requests of one client under way on the route, in a worker; over it: 429. 0: any."
    )


class Health(Section):
    """Active health checks of the upstreams."""

    path: RoutePath | None = Field(default=None, description="Path asked for; null: no active checks.")
    interval: Duration = Field(default=10.0, description="Time between two checks.")


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
    limits: Limits = Field(default=Limits(), description="How much a request may be, and how many.")
    health: Health = Field(default=Health(), description="Active health checks of the upstreams.")
    retries: Annotated[Count, Field(le=5)] = Field(
        default=1, description="More tries of an idempotent request, only before a byte of the answer came."
    )
