"""A listener that is closed leaves nobody waiting: whoever had connected is answered first."""

from __future__ import annotations

import asyncio
import socket

from support.proxying import answering, build, get, read_all, routes_to, status_of, until, upstream

from gateway.runtime.acceptor import Acceptor

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def test_those_who_wait_are_answered_before_the_listener_is_gone() -> None:
    async with upstream(answering(OK)) as up:
        gateway = build(routes_to(up.port))
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        port = listener.getsockname()[1]
        waiting = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]  # more than are taken at once
        acceptor = Acceptor(gateway.front, listener)
        acceptor.stop()
        answers = []
        for sock in waiting:
            reader, writer = await asyncio.open_connection(sock=sock)
            writer.write(get("/api/x"))
            async with asyncio.timeout(5):
                answers.append(status_of(await read_all(reader)))
            writer.close()
            await writer.wait_closed()
        assert answers == [200] * 100
        await acceptor.wait_closed()
        await gateway.front.shutdown(0.5)
        gateway.proxy.close()
        await until(lambda: gateway.proxy.open_upstream_connections == 0)
