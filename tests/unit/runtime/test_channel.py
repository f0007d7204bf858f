"""What supervisor and worker say to each other."""

from __future__ import annotations

import asyncio
import socket

import pytest

from gateway.runtime.channel import Channel, Message, encode, read_first


async def test_messages_arrive_whole_however_the_bytes_come() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    heard: list[Message] = []
    closed = asyncio.Event()
    channel = await Channel.over(ours, heard.append, closed.set)
    raw = encode({"a": "\n\udc80"}) + encode({"b": [1, None]}) + encode({"c": "x" * 100_000})
    for at in range(0, len(raw), 30_001):
        theirs.sendall(raw[at : at + 30_001])
        await asyncio.sleep(0)
    channel.send({"d": True})
    theirs.setblocking(False)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(5):
        assert await loop.sock_recv(theirs, 100) == b'{"d": true}\n'
        theirs.close()
        await closed.wait()
    assert heard == [{"a": "\n\udc80"}, {"b": [1, None]}, {"c": "x" * 100_000}]
    channel.send({"nobody": "hears it"})


async def test_what_is_said_right_after_the_first_message_is_heard() -> None:
    """A worker that starts slowly finds more than one message: that is no reason to give up."""
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(encode({"settings": "x" * 70_000}) + encode({"fleet": {}}) + encode({"leave": True}))
        assert read_first(ours) == {"settings": "x" * 70_000}
        heard: list[Message] = []
        closed = asyncio.Event()
        ours.setblocking(False)
        await Channel.over(ours, heard.append, closed.set)
        theirs.close()
        async with asyncio.timeout(5):
            await closed.wait()
    assert heard == [{"fleet": {}}, {"leave": True}]


def test_the_first_message_is_read_without_a_loop() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(encode({"settings": {}}))
        assert read_first(ours) == {"settings": {}}
        theirs.close()
        with pytest.raises(EOFError):
            read_first(ours)
