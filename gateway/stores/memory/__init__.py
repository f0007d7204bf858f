"""All ports in memory: the oracle of the contract suite, for tests and throw-away gateways."""

from __future__ import annotations

from gateway.clock import Clock
from gateway.stores.bundle import Stores
from gateway.stores.memory.database import MemoryDatabase
from gateway.stores.memory.events import MemoryEvents
from gateway.stores.memory.keys import MemoryKeys
from gateway.stores.memory.sessions import MemorySessions
from gateway.stores.memory.users import MemoryUsers


def open_memory(clock: Clock) -> Stores:
    """A new, empty set of stores that share one state and `clock`."""
    database = MemoryDatabase(clock)
    return Stores(
        sessions=MemorySessions(database),
        users=MemoryUsers(database),
        keys=MemoryKeys(database),
        events=MemoryEvents(database),
        database=database,
    )


__all__ = ["MemoryDatabase", "open_memory"]
