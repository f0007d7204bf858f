"""What telemetry asks for: a bounded table of security events, and to write undisturbed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

Exclusive = Callable[[], AbstractContextManager[object]]
"""What is entered while a batch of lines is written, so that no other process writes into the middle of it."""


@dataclass(frozen=True, slots=True)
class SpanPolicy:
    """Where spans go and which requests make some. `endpoint` is a URL with its path, `timeout` in seconds, `headers`
    (secret) go with each batch, `sample_ratio` is 0 to 1.
    """

    endpoint: str
    sample_ratio: float = 0.1
    service_name: str = "auth-gateway"
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    timeout: float = 10.0


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """A security event at rest. `at` is epoch seconds; `document` is the log line's JSON object."""

    seq: int
    at: float
    name: str
    level: str
    user_id: str | None
    session_id: str | None
    document: bytes


class EventStore(Protocol):
    """Recent security events. Errors as in `SessionStore`."""

    async def append_events(self, events: Sequence[StoredEvent]) -> None:
        """Append a batch; `seq` of the input is ignored and given by the store."""
        ...

    async def read_events(
        self,
        *,
        after: int = 0,
        since: float = 0.0,
        names: Sequence[str] = (),
        user_id: str | None = None,
        limit: int = 1000,
        newest: bool = False,
    ) -> tuple[StoredEvent, ...]:
        """Events in order of `seq`; `newest` takes the last `limit` instead of the first."""
        ...

    async def trim_events(self, *, keep: int) -> int:
        """Delete the oldest beyond `keep` rows, at most a few thousand at a time; returns how many went."""
        ...
