"""The wake-up of the revocation feed by Redis: whoever commits a revocation calls, and every worker reads the database.

A call carries nothing and may be lost; the database alone says what is revoked. So nobody waits for Redis, and whoever
lost the connection looks once it is back.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from redis.asyncio.client import PubSub

from gateway import tasks
from gateway.stores.bundle import FeedWatch
from gateway.stores.redis.client import RedisClient

CHANNEL: Final = "gw:revoked"
KEEPALIVE: Final = 5.0
"""Seconds after which a silent connection is asked whether it is still there."""
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0


class RedisWake:
    """Calls when this process committed a revocation, and wakes `watch` when another one did."""

    def __init__(self, client: RedisClient, watch: FeedWatch, *, keepalive: float = KEEPALIVE) -> None:
        self._client = client
        self._watch = watch
        self._keepalive = keepalive
        self._wanted = False
        self._calling: asyncio.Task[object] | None = None
        self._task: asyncio.Task[object] | None = None
        self.listening = False

    def start(self) -> None:
        """Begin to listen and to call."""
        self._watch.on_commit = self.call
        self._task = tasks.spawn(self._listen(), name="revocation wake-up")

    async def stop(self) -> None:
        """Stop both."""
        self._watch.on_commit = None
        await tasks.cancel(self._task)
        await tasks.cancel(self._calling)

    def call(self) -> None:
        """Wake the others, without waiting; what comes while a call is under way is one more call."""
        self._wanted = True
        if self._calling is None or self._calling.done():
            self._calling = tasks.spawn(self._publish(), name="revocation call")

    async def _publish(self) -> None:
        while self._wanted:
            self._wanted = False
            with contextlib.suppress(Exception):  # the database's own wake-up and polling remain
                await self._client.call("PUBLISH", CHANNEL, b"")

    async def _listen(self) -> None:
        """Listen for ever, beginning anew whenever the connection is lost."""
        pause = _FIRST_PAUSE
        while True:
            with contextlib.suppress(Exception):
                async with self._client.subscribed(CHANNEL) as pubsub:
                    pause = _FIRST_PAUSE
                    self.listening = True
                    await self._follow(pubsub)
            self.listening = False
            await asyncio.sleep(pause)
            pause = min(_LONGEST_PAUSE, pause * 2)

    async def _follow(self, pubsub: PubSub) -> None:
        asked = False
        while True:
            message = await pubsub.get_message(timeout=self._keepalive)
            if message is not None:
                asked = False
                if message["type"] in {"subscribe", "message"}:  # what came before we listened is unheard
                    self._watch.grew()
            elif asked:
                return
            else:
                asked = True
                await pubsub.ping()
