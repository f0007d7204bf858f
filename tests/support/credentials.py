"""Cheap password hashing and a memory-backed user service for tests."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.credentials.authenticator import Authenticator
from gateway.credentials.hasher import PasswordHasher
from gateway.credentials.schemes import argon2
from gateway.credentials.schemes.argon2 import Argon2Parameters
from gateway.credentials.users import UserService
from gateway.events import Event
from gateway.stores.bundle import Stores
from gateway.stores.memory import open_memory
from support.clock import FrozenClock

CHEAP = Argon2Parameters(memory_kib=8, passes=1, lanes=1)


@dataclass
class Recorder:
    """An event sink that keeps what it gets."""

    events: list[Event] = field(default_factory=list)

    def emit(self, event: Event) -> None:
        self.events.append(event)


class CredentialBench:
    """Users in memory with hashes that cost next to nothing."""

    def __init__(self) -> None:
        self.clock = FrozenClock()
        self.stores: Stores = open_memory(self.clock)
        self.hasher = PasswordHasher(CHEAP, permits=1)
        self.events = Recorder()
        self.authenticator = Authenticator(self.stores.users, self.hasher, self.events)
        self.users = UserService(self.stores.users, self.hasher, self.clock)

    async def close(self) -> None:
        await self.hasher.close()


class HashCounter:
    """Counts Argon2 computations and what they cost; use as `monkeypatch`'s replacement for the library call."""

    def __init__(self) -> None:
        self.costs: list[tuple[int, int, int]] = []
        self._real = argon2.hash_secret_raw

    def __call__(self, secret: bytes, salt: bytes, **costs: int) -> bytes:
        self.costs.append((costs["memory_cost"], costs["time_cost"], costs["parallelism"]))
        return self._real(secret, salt, **costs)  # type: ignore[arg-type]
