"""Requests of every kind against upstreams that misbehave: the right answer, one clean error, or a connection that
visibly breaks. Never a byte of another exchange, and nothing is left: the next request gets its own answer.
"""

from __future__ import annotations

import asyncio

import orjson
import pytest
from support.hostile import BROKEN, ERROR, MALFORMED, ODD, RIGHT, SLOW, TORN, Hostile, well
from support.kinds import Kind, ask, kinds
from support.proxying import Setup, at_rest, get, hang_up, proxied, quiet, routes_to, until, upstream
from support.strict import Answer, Seen, StrictPeer, read_answer

KINDS = tuple(kind for kind in kinds("hostile") if not kind.refused and len(kind.pieces) < 20)


def peer(hostile: Hostile) -> StrictPeer:
    async def respond(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        if b"hostile" in seen.target:
            return await hostile.act(reader, writer)
        return await well(seen, writer)

    return StrictPeer(respond, lambda seen: hostile.early and b"hostile" in seen.target)


@pytest.mark.parametrize("hostile", [*MALFORMED, *BROKEN, *ODD], ids=str)
async def test_every_kind_of_request_survives(hostile: Hostile) -> None:
    strict = peer(hostile)
    async with quiet(), upstream(strict.script) as up, proxied(up.port) as gateway:
        for number, kind in enumerate(KINDS):
            if hostile.condemned and len(kind.bodies) > 1:
                continue  # what comes late is in all appearance the answer to the second request
            await survive(gateway, hostile, kind)
            if hostile.condemned:
                await until(lambda: gateway.proxy.open_upstream_connections == 0)
            await next_is_right(gateway, number)
            await at_rest(gateway)
        assert strict.flaws == []
        assert gateway.notes.events == []


@pytest.mark.parametrize("hostile", SLOW, ids=str)
async def test_every_kind_of_request_has_an_end(hostile: Hostile) -> None:
    strict = peer(hostile)
    async with quiet(), upstream(strict.script) as up:
        routes = routes_to(up.port, response_timeout=0.2, idle_timeout=0.2)
        async with proxied(routes) as gateway:
            await asyncio.gather(*(survive(gateway, hostile, kind) for kind in KINDS if len(kind.bodies) < 3))
            await at_rest(gateway)
            await next_is_right(gateway, 0)
            await at_rest(gateway)
            assert gateway.notes.events == []


async def survive(gateway: Setup, hostile: Hostile, kind: Kind) -> None:
    """Whatever came, a strict client is not deceived."""
    answers, rest = await ask(gateway.port, kind)
    case = f"{hostile} / {kind.name}"
    assert rest == b"", case
    last = answers[-1]
    if last is not None and len(answers) > 1 and last.status == 404:  # the connection was good for another request
        answers.pop()
    assert answers, case
    assert len(answers) <= len(kind.bodies), case
    for answer in answers:
        outcome = judge(answer, hostile, kind)
        assert outcome in hostile.outcomes or (outcome != TORN and kind.method == b"HEAD"), (case, outcome, answer)
        if answer is not None:
            assert b"poison" not in answer.body, case
            assert b"x-poison" not in answer.fields, case
            assert answer.informed <= (b"Expect" in kind.pieces[0]), case


def judge(answer: Answer | None, hostile: Hostile, kind: Kind) -> str:
    """Which of the three ends it was."""
    if answer is None or not answer.complete:
        return TORN
    if answer.status in (502, 504):
        assert answer.fields[b"content-type"] == [b"application/problem+json"]
        if kind.method != b"HEAD":
            problem = orjson.loads(answer.body)
            assert (problem["status"], problem["request_id"].encode()) == (
                answer.status,
                answer.fields[b"x-request-id"][0],
            )
        return ERROR
    assert kind.method == b"HEAD" or answer.body in hostile.bodies, (answer, kind.name)
    return RIGHT


async def next_is_right(gateway: Setup, number: int) -> None:
    """The next two requests, of another client, and on one connection: nothing poisoned waits for them."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    try:
        for path, close in ((f"/api/honest/{number}", False), (f"/public/anonymous/{number}", True)):
            writer.write(get(path, token=None if close else b"good-token", close=close))
            answer = await read_answer(reader, b"GET")
            assert answer is not None
            assert (answer.status, answer.body, answer.complete) == (200, path.encode(), True)
        assert await reader.read() == b""
    finally:
        await hang_up(writer)
