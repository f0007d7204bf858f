"""A TCP relay that loses what it is told to lose: the network between a gateway and its database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Relay:
    """Passes bytes on until told otherwise.

    `lose_answer_to` and `lose_request`: the next request that holds these bytes is passed on and its answer is not, or
    is not passed on at all; either way the connection ends. `running` cleared: answers wait, from the moment a request
    holds the bytes of `stall_at` if that is set. `delay`: seconds that every answer takes longer.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self.port = 0
        self.lose_answer_to: bytes | None = None
        self.lose_request: bytes | None = None
        self.stall_at: bytes | None = None
        self.delay = 0.0
        self.running = asyncio.Event()
        self.running.set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._target)
        state = {"mute": False}

        async def requests() -> None:
            while data := await reader.read(65536):
                if self.lose_request is not None and self.lose_request in data:
                    self.lose_request = None
                    return
                if self.lose_answer_to is not None and self.lose_answer_to in data:
                    self.lose_answer_to, state["mute"] = None, True
                if self.stall_at is not None and self.stall_at in data:
                    self.stall_at = None
                    self.running.clear()
                up_writer.write(data)

        async def answers() -> None:
            while data := await up_reader.read(65536):
                if state["mute"]:
                    return
                await self.running.wait()
                if self.delay:
                    await asyncio.sleep(self.delay)
                writer.write(data)

        ways = [asyncio.ensure_future(requests()), asyncio.ensure_future(answers())]
        try:
            with suppress(OSError):
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in (writer, up_writer):
                end.transport.abort()
            self._tasks.discard(task)

    async def is_stalled(self) -> bool:
        """Whether answers wait."""
        return not self.running.is_set()

    async def close(self) -> None:
        """End every connection."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def relay_to(port: int) -> AsyncIterator[Relay]:
    """A relay to this port of the loopback interface."""
    relay = Relay(port)
    listener = await asyncio.start_server(relay.serve, "127.0.0.1", 0)
    relay.port = listener.sockets[0].getsockname()[1]
    try:
        yield relay
    finally:
        listener.close()
        await relay.close()
