"""Statements and transactions on lent connections, with the driver's errors as the gateway's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.stores.postgres.connections import Connections
from gateway.stores.postgres.driver import Connection, Row
from gateway.stores.postgres.errors import hand_on, is_broken, is_server_gone
from gateway.stores.postgres.target import Target

T = TypeVar("T")


class Transaction:
    """What a unit of work may use. `feed_grown` is set by whoever appends to the revocation feed."""

    __slots__ = ("execute", "feed_grown", "fetch", "fetchrow", "fetchval")

    def __init__(self, connection: Connection) -> None:
        self.execute = connection.execute
        self.fetch = connection.fetch
        self.fetchrow = connection.fetchrow
        self.fetchval = connection.fetchval
        self.feed_grown = False


class Work:
    """Runs what the ports ask for. Nothing is ever tried twice: what was lost unheard may have been committed."""

    def __init__(self, connections: Connections, target: Target, on_feed: Callable[[], None]) -> None:
        self._connections = connections
        self._begin = target.begin
        self._pooled = target.pooled
        self._on_feed = on_feed

    async def rows(self, sql: str, *values: object) -> list[Row]:
        """All rows of one statement, a transaction of its own."""
        if self._pooled:
            return await self.run(lambda transaction: transaction.fetch(sql, *values))
        connection = await self._connections.take()
        try:
            found = await connection.fetch(sql, *values)
        except BaseException as error:  # noqa: BLE001 - handed on
            self._give_back(connection, error)
            hand_on(error)
        self._connections.give(connection)
        return found

    async def row(self, sql: str, *values: object) -> Row | None:
        """The first row of one statement, a transaction of its own."""
        if self._pooled:
            return await self.run(lambda transaction: transaction.fetchrow(sql, *values))
        connection = await self._connections.take()
        try:
            found = await connection.fetchrow(sql, *values)
        except BaseException as error:  # noqa: BLE001 - handed on
            self._give_back(connection, error)
            hand_on(error)
        self._connections.give(connection)
        return found

    async def run(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Do `work` in one transaction; it is committed when this returns."""
        connection = await self._connections.take()
        transaction = Transaction(connection)
        try:
            await connection.execute(self._begin)
            result = await work(transaction)
            await self.commit(connection)
        except BaseException as error:  # noqa: BLE001 - handed on
            await self._undo(connection, error)
            hand_on(error)
        self._connections.give(connection)
        if transaction.feed_grown:
            self._on_feed()
        return result

    async def commit(self, connection: Connection) -> None:
        """The last statement of a transaction."""
        await connection.execute("COMMIT")

    async def _undo(self, connection: Connection, error: BaseException) -> None:
        """Roll back, or end a connection whose state is not known: the server rolls back then."""
        if is_broken(error):
            self._give_back(connection, error)
            return
        try:
            await connection.execute("ROLLBACK")
        except Exception as second:  # noqa: BLE001 - the first error is the one to tell
            self._give_back(connection, second)
        except BaseException:
            self._connections.give(connection, broken=True)
            raise
        else:
            self._connections.give(connection)

    def _give_back(self, connection: Connection, error: BaseException) -> None:
        self._connections.give(connection, broken=is_broken(error))
        if is_server_gone(error):
            self._connections.drop_idle()
