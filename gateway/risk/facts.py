"""What is known about the client behind a request."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClientFacts:
    """The client as this request shows it.

    `address`: the client's IP in its canonical text form, after trusted proxies. `network`: its prefix, /24 or /56.
    `user_agent`: the raw header, at most 512 characters, "" when absent. `device`: family and platform, never the
    version ("Firefox on Linux"); what cannot be parsed is "unknown", a value like any other, never a skipped rule.
    """

    address: str
    network: str
    user_agent: str
    device: str


@dataclass(frozen=True, slots=True)
class RequestContext:
    """A request as the domain sees it. `arrived` is monotonic seconds."""

    request_id: str
    facts: ClientFacts
    arrived: float
