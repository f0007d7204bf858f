"""Noticing that the revocation feed grew: at once in this process, by polling for the others."""

from __future__ import annotations

import asyncio

from gateway.stores.sqlite.lane import Reader, Transaction

POLL_INTERVAL = 0.1
_HEAD = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'revocations'), 0)"


class FeedWatch:
    """Counts growth of the feed. Nothing is polled while nobody waits."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._waiters: set[asyncio.Future[None]] = set()
        self._grown = 0
        self._read = 0
        self._head = 0
        self._data_version = -1

    def grew(self) -> None:
        """This process committed entries: wake whoever waits."""
        self._grown += 1
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def reading(self) -> None:
        """The feed is about to be read: what has grown until now needs no wake-up."""
        self._read = self._grown

    async def changed(self, timeout: float) -> None:
        """Return when the feed may have grown since it was last read, or after `timeout` seconds."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + timeout
        while self._read == self._grown:
            if await self._reader.run(self._grew_elsewhere):
                self.grew()
                return
            left = give_up - loop.time()
            if left <= 0:
                return
            await self._woken(min(left, POLL_INTERVAL))

    async def _woken(self, timeout: float) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await asyncio.wait((waiter,), timeout=timeout)
        finally:
            self._waiters.discard(waiter)

    def _grew_elsewhere(self, transaction: Transaction) -> bool:
        """`data_version` moves with every commit of another connection; only then is the table asked."""
        version: int = transaction.execute("PRAGMA data_version").fetchone()[0]
        if version == self._data_version:
            return False
        self._data_version = version
        head: int = transaction.execute(_HEAD).fetchone()[0]
        if head == self._head:
            return False
        self._head = head
        return True
