"""W3C Trace Context, and which requests are traced: decided as a request comes in, told when it has ended.

Nothing here knows OpenTelemetry; `gateway.telemetry.tracing` makes spans of what is found here.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, NamedTuple

_LENGTH: Final = 55
_NAME: Final = b"traceparent: "
_HEX: Final = b"0123456789abcdef"
_ODD: Final = b"13579bdf"
_MARK: Final = b"\r\n" + _NAME
_STATE: Final = b"tracestate: "


class Parent(NamedTuple):
    """What a traceparent says: 32 and 16 hex digits."""

    trace_id: str
    span_id: str
    sampled: bool


def parse(value: bytes) -> Parent | None:
    """A traceparent (W3C Trace Context 3.2), None when it is not valid. Later versions are read as far as known."""
    head = value[:_LENGTH]
    if len(head) < _LENGTH or head.translate(None, _HEX) != b"---":
        return None
    if not head[2] == head[35] == head[52] == 0x2D or head[:2] == b"ff":
        return None
    if len(value) > _LENGTH and (head[:2] == b"00" or value[_LENGTH] != 0x2D):
        return None
    trace_id, span_id = head[3:35].decode("ascii"), head[36:52].decode("ascii")
    if not trace_id.strip("0") or not span_id.strip("0"):
        return None
    return Parent(trace_id, span_id, head[54] in _ODD)


@dataclass(slots=True)
class StoreCall:
    """A call to the store: `started` and `ended` in epoch seconds."""

    operation: str
    started: float
    ended: float
    failed: bool


class Trace:
    """A sampled request. `parent_id`: the client's span, if it named one. `sent`: seconds from the request's arrival to
    its turn to an upstream, None when it went nowhere. `error`: the code of what ended it.
    """

    __slots__ = ("calls", "error", "parent_id", "resends", "sent", "span_id", "trace_id", "upstream_id")

    def __init__(self, trace_id: str, parent_id: str | None, span_id: str, upstream_id: str) -> None:
        self.trace_id = trace_id
        self.parent_id = parent_id
        self.span_id = span_id
        self.upstream_id = upstream_id
        self.sent: float | None = None
        self.error: str | None = None
        self.resends = 0
        self.calls: list[StoreCall] = []

    @property
    def line(self) -> bytes:
        """The header line an upstream gets."""
        return f"traceparent: 00-{self.trace_id}-{self.upstream_id}-01".encode("ascii")


CURRENT: Final[ContextVar[Trace | None]] = ContextVar("trace", default=None)
"""The sampled request to the own API this task answers; proxied requests call no store and set nothing."""


class Sampler:
    """Decides which requests are traced. `active` holds those under way by request id, for the log.

    `ratio`, 0 to 1, is the share that is traced. A trusted peer's flag decides for its requests. An untrusted client's
    does not: for it lots are drawn, and not by its trace id, which could be chosen as well.
    """

    __slots__ = ("_chance", "_entropy", "_ratio", "active")

    def __init__(
        self,
        ratio: float,
        entropy: Callable[[int], bytes] = os.urandom,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._ratio = ratio
        self._entropy = entropy
        self._chance = chance
        self.active: dict[str, Trace] = {}

    def begin(self, lines: list[bytes], request_id: str, *, trusted: bool) -> Trace | None:
        """Decide about a request whose header lines (`Name: value`, the first one empty) are `lines`, and change those
        that say what it is part of. None: it is not traced; what it came with passes on.
        """
        block = b"\r\n".join(lines)
        at = block.lower().find(_MARK)
        if at >= 0:
            return self._continued(lines, request_id, _parent(block, at + len(_MARK)), trusted=trusted)
        if self._chance() >= self._ratio:
            return None
        _drop(lines, _STATE)
        return self._sampled(lines, request_id, None)

    def forget(self, request_id: str) -> None:
        """A request has ended, or somebody else answers it."""
        self.active.pop(request_id, None)

    def _continued(self, lines: list[bytes], request_id: str, parent: Parent | None, *, trusted: bool) -> Trace | None:
        if parent is None:  # as if it had not come, and its state with it (3.2.2.2, 3.3.1)
            _drop(lines, _NAME)
            _drop(lines, _STATE)
        sampled = parent.sampled if parent is not None and trusted else self._chance() < self._ratio
        if sampled:
            _drop(lines, _NAME)
            return self._sampled(lines, request_id, parent)
        if parent is not None and parent.sampled:  # the backend must not be made to record by a stranger either
            _drop(lines, _NAME)
            lines.append(f"traceparent: 00-{parent.trace_id}-{parent.span_id}-00".encode("ascii"))
        return None

    def _sampled(self, lines: list[bytes], request_id: str, parent: Parent | None) -> Trace:
        ids = self._entropy(32).hex()
        trace_id, parent_id = (parent.trace_id, parent.span_id) if parent is not None else (ids[:32], None)
        trace = self.active[request_id] = Trace(trace_id, parent_id, ids[32:48], ids[48:])
        lines.append(trace.line)
        return trace


def _parent(block: bytes, start: int) -> Parent | None:
    """What the one traceparent in a block of header lines says, whose value begins at `start`."""
    end = block.find(b"\r\n", start)
    if end < 0:
        return parse(block[start:])
    return parse(block[start:end]) if block.lower().find(_MARK, end) < 0 else None


def _drop(lines: list[bytes], start: bytes) -> None:
    lines[1:] = [line for line in lines[1:] if line[: len(start)].lower() != start]
