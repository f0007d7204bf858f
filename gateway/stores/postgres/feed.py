"""Noticing that the revocation feed grew: by LISTEN, or by asking where nothing can be listened to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from gateway import tasks
from gateway.errors import StoreUnavailable
from gateway.stores.postgres.connections import close
from gateway.stores.postgres.driver import Connection

CHANNEL: Final = "gateway_feed"
HEAD: Final = "SELECT coalesce(max(seq), 0) FROM revocations"
POLL_INTERVAL: Final = 0.2
KEEPALIVE: Final = 5.0
"""Seconds after which a silent connection is asked whether it is still there."""
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0


class FeedWatch:
    """Counts growth of the feed. One connection of its own listens; while it is lost, or where a pooler keeps anyone
    from listening (`connect` None), whoever waits asks for the head of the feed instead."""

    def __init__(self, connect: Callable[[], Awaitable[Connection]] | None, *, keepalive: float = KEEPALIVE) -> None:
        self._connect = connect
        self._keepalive = keepalive
        self._waiters: set[asyncio.Future[None]] = set()
        self._grown = 0
        self._read = 0
        self._head = 0
        self._unsure = True
        self._closed = False
        self._task: asyncio.Task[object] | None = None
        self._ask: Callable[[], Awaitable[int]]
        self.listening = False
        self.on_commit: Callable[[], None] | None = None

    def start(self, ask: Callable[[], Awaitable[int]]) -> None:
        """Begin to listen. `ask` reads the number of the newest entry."""
        self._ask = ask
        if self._connect is not None:
            self._task = tasks.spawn(self._listen(self._connect), name="feed listener")

    async def stop(self) -> None:
        """Stop listening; whoever waits is told that the store is closed."""
        self._closed = True
        await tasks.cancel(self._task)
        self._wake()

    def grew(self) -> None:
        """Entries were committed, here or elsewhere: wake whoever waits."""
        self._grown += 1
        self._wake()

    def committed(self) -> None:
        """This process committed entries."""
        self.grew()
        if self.on_commit is not None:
            self.on_commit()

    def reading(self) -> None:
        """The feed is about to be read: what has grown until now needs no wake-up."""
        self._read = self._grown

    def was_read(self, head: int) -> None:
        """It was read up to this entry."""
        self._head = head

    async def changed(self, timeout: float) -> None:
        """Return when the feed may have grown since it was last read, or after `timeout` seconds."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + timeout
        while True:
            if self._closed:
                raise StoreUnavailable(debug="the store is closed")
            if self._read != self._grown:
                return
            if (self._unsure or not self.listening) and await self._grew_unheard():
                return
            left = give_up - loop.time()
            if left <= 0:
                return
            await self._woken(left if self.listening else min(left, POLL_INTERVAL))

    async def _woken(self, timeout: float) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await asyncio.wait((waiter,), timeout=timeout)
        finally:
            self._waiters.discard(waiter)

    async def _grew_unheard(self) -> bool:
        self._unsure = not self.listening
        head = await self._ask()
        if head == self._head:
            return False
        self._head = head
        self.grew()
        return True

    def _turn(self, *, listening: bool) -> None:
        """Whoever waits looks for what came while nobody listened."""
        self.listening, self._unsure = listening, True
        self._wake()

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def _listen(self, connect: Callable[[], Awaitable[Connection]]) -> None:
        """Listen for ever, beginning anew whenever the connection is lost."""
        pause = _FIRST_PAUSE
        while True:
            with contextlib.suppress(Exception):
                connection = await connect()
                pause = _FIRST_PAUSE
                await self._follow(connection)
            await asyncio.sleep(pause)
            pause = min(_LONGEST_PAUSE, pause * 2)

    async def _follow(self, connection: Connection) -> None:
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        try:
            await connection.add_listener(CHANNEL, lambda *_: self.grew())
            self._turn(listening=True)
            while not lost.is_set():
                try:
                    async with asyncio.timeout(self._keepalive):
                        await lost.wait()
                except TimeoutError:
                    await connection.fetchval("SELECT 1", timeout=self._keepalive)
        finally:
            self._turn(listening=False)
            if lost.is_set():
                connection.terminate()
            else:
                await close(connection)
