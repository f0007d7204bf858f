"""A bounded set of connections. The driver's own pool costs a round trip and two tasks for each loan."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from gateway.errors import StoreBusy, StoreUnavailable
from gateway.stores.bundle import Load
from gateway.stores.postgres.driver import Connection
from gateway.stores.postgres.errors import hand_on

_CLOSE_WITHIN = 2.0


class Connections:
    """Lends connections, the one used last first; makes them when asked for, `size` at most.

    `patience`: seconds to wait for one to come back. What is broken or was closed by the server is never lent again.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        *,
        size: int,
        patience: float,
        first: Connection | None = None,
    ) -> None:
        self._connect = connect
        self._size = size
        self._patience = patience
        self._idle: list[Connection] = [first] if first is not None else []
        self._open = len(self._idle)
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()
        self._closed = False
        self._all_back = asyncio.Event()

    async def take(self) -> Connection:
        """A connection for the caller alone, who must `give` it back. Raises `StoreBusy` or `StoreUnavailable`."""
        if self._closed:
            raise StoreUnavailable(debug="the store is closed")
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
            self._open -= 1
        if self._open < self._size:
            return await self._new()
        return await self._next()

    def give(self, connection: Connection, *, broken: bool = False) -> None:
        """Take back a connection; `broken` ends it."""
        if broken:
            connection.terminate()
        usable = not broken and not connection.is_closed()
        while self._waiting:
            waiter = self._waiting.popleft()
            if waiter.done():
                continue
            if usable:
                waiter.set_result(connection)
            else:
                self._open -= 1
                waiter.set_result(None)
            return
        if usable:
            self._idle.append(connection)
        else:
            self._open -= 1
        if self._closed and len(self._idle) == self._open:
            self._all_back.set()

    def load(self) -> Load:
        """How many there are, how many are lent, and who waits."""
        waiting = sum(not waiter.done() for waiter in self._waiting)
        return Load(self._open, self._open - len(self._idle), waiting)

    def drop_idle(self) -> None:
        """End the connections nobody uses: their server is not the one to talk to any more."""
        while self._idle:
            self._idle.pop().terminate()
            self._leave()

    async def close(self) -> None:
        """Wait for what is lent, then close every connection. Idempotent."""
        self._closed = True
        if len(self._idle) < self._open:
            await self._all_back.wait()
        while self._idle:
            connection = self._idle.pop()
            self._open -= 1
            await close(connection)

    async def _new(self) -> Connection:
        self._open += 1
        try:
            return await self._connect()
        except BaseException as error:  # noqa: BLE001 - handed on
            self._leave()
            hand_on(error)

    async def _next(self) -> Connection:
        waiter: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(self._patience):
                connection = await waiter
        except TimeoutError:
            self._abandon(waiter)
            raise StoreBusy(debug=f"all {self._size} connections are in use", retry_after=1) from None
        except BaseException:
            self._abandon(waiter)
            raise
        if connection is not None and not connection.is_closed():
            return connection
        if connection is not None:
            self._open -= 1
        return await self._new()

    def _abandon(self, waiter: asyncio.Future[Connection | None]) -> None:
        """Pass on what was handed over at the moment its receiver gave up."""
        if not waiter.done() or waiter.cancelled():
            waiter.cancel()
            return
        connection = waiter.result()
        if connection is not None:
            self.give(connection)
        else:
            self._wake()

    def _leave(self) -> None:
        self._open -= 1
        self._wake()
        if self._closed and len(self._idle) == self._open:
            self._all_back.set()

    def _wake(self) -> None:
        """There is room for one more connection: let the next who waits make it."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return


async def close(connection: Connection) -> None:
    """Say good-bye to the server, but not for long."""
    try:
        await connection.close(timeout=_CLOSE_WITHIN)
    except Exception:  # noqa: BLE001 - whatever keeps it from closing, it is gone after this
        connection.terminate()
