"""Tells how long calls to a store take, whichever store it is."""

from __future__ import annotations

import functools
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Protocol, TypeVar, cast

from gateway.errors import StoreBusy, StoreUnavailable
from gateway.stores.bundle import Stores

Port = TypeVar("Port")
# Waiting is what it is for: its duration says nothing.
_UNTIMED = frozenset({"feed_changed"})


class Observe(Protocol):
    """Takes one call's name and duration in seconds."""

    def __call__(self, operation: str, seconds: float, *, failed: bool) -> None:
        """A call has ended."""
        ...


class _Timed:
    """Stands before a port: every coroutine method is timed, everything else passes."""

    def __init__(self, port: object, kind: str, observe: Observe) -> None:
        self._port = port
        self._kind = kind
        self._observe = observe

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if not callable(found) or name in _UNTIMED:
            return found
        wrapped = _timed(found, f"{self._kind}.{name}", self._observe)
        setattr(self, name, wrapped)  # the next look-up does not come here
        return wrapped


def _timed(
    call: Callable[..., Awaitable[object]], operation: str, observe: Observe
) -> Callable[..., Awaitable[object]]:
    @functools.wraps(call)
    async def timed(*args: object, **options: object) -> object:
        start = time.perf_counter()
        failed = False
        try:
            return await call(*args, **options)
        except (StoreBusy, StoreUnavailable):  # what a store refuses for good reason is no failure of the store
            failed = True
            raise
        finally:
            observe(operation, time.perf_counter() - start, failed=failed)

    return timed


def timed(stores: Stores, observe: Observe) -> Stores:
    """`stores`, each call of sessions, users and keys told to `observe` as `sessions.rotate` and the like."""

    def before(port: Port, kind: str) -> Port:
        return cast("Port", _Timed(port, kind, observe))

    return replace(
        stores,
        sessions=before(stores.sessions, "sessions"),
        users=before(stores.users, "users"),
        keys=before(stores.keys, "keys"),
    )
