"""What the adapter uses of asyncpg, which has no types of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

Row: TypeAlias = Sequence[Any]


class ServerVersion(Protocol):
    """`major.minor` of the server."""

    major: int
    minor: int


class Connection(Protocol):
    """A connection. Every call may raise whatever the driver, the network or the server raises."""

    async def execute(self, sql: str, *values: object, timeout: float | None = None) -> str:
        """Run one statement, or several when there are no values; answers the last one's command tag."""
        ...

    async def fetch(self, sql: str, *values: object, timeout: float | None = None) -> list[Row]:
        """All rows."""
        ...

    async def fetchrow(self, sql: str, *values: object, timeout: float | None = None) -> Row | None:
        """The first row."""
        ...

    async def fetchval(self, sql: str, *values: object, timeout: float | None = None) -> Any:
        """The first column of the first row, None when there is none."""
        ...

    def is_closed(self) -> bool:
        """Whether it ended, from whichever side."""
        ...

    async def close(self, *, timeout: float | None = None) -> None:
        """End it in the orderly way."""
        ...

    def terminate(self) -> None:
        """Drop it."""
        ...

    async def add_listener(self, channel: str, callback: Callable[..., None]) -> None:
        """LISTEN."""
        ...

    def add_termination_listener(self, callback: Callable[..., None]) -> None:
        """Call back when the connection is lost or closed."""
        ...

    def get_server_version(self) -> ServerVersion:
        """Of the server at the other end."""
        ...
