"""Several processes on one database, all presenting the same refresh token at once."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from pathlib import Path

import pytest
import support
from support import postgres
from support.stores import a_session, a_user

from gateway.clock import SystemClock
from gateway.sessions.session import Channel
from gateway.stores.factory import open_stores

PROCESSES = 4
TIMES = 13
ROUNDS = 10


async def start(url: str) -> asyncio.subprocess.Process:
    tests = str(Path(support.__path__[0]).parent)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "support.refresh_burst",
        url,
        str(TIMES),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": tests},
    )
    assert process.stdin is not None and process.stdout is not None
    return process


async def line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(30):
        return (await process.stdout.readline()).decode()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_fifty_over_four_processes_make_one_generation(tmp_path: Path, kind: str) -> None:
    clock = SystemClock()
    url = await postgres.server().wipe() if kind == "postgres" else f"sqlite:///{tmp_path}/gateway.db"
    stores = await open_stores(url, clock=clock, busy_timeout=5.0)
    user = a_user(now=clock.now())
    await stores.users.add(user)
    processes = await asyncio.gather(*(start(url) for _ in range(PROCESSES)))
    assert [await line(process) for process in processes] == ["ready\n"] * PROCESSES
    for _ in range(ROUNDS):
        session = a_session(user.user_id, clock.now(), channel=Channel.BODY)
        await stores.sessions.create(session, user_epoch=0, max_per_user=50)
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(f"{session.sid}\n".encode())
        answers = [answer for process in processes for answer in json.loads(await line(process))]
        outcomes = Counter(outcome for outcome, _ in answers)
        assert len(answers) == PROCESSES * TIMES
        assert outcomes["rotated"] == 1
        assert set(outcomes) <= {"rotated", "race", "superseded", "busy"}
        assert {successor for _, successor in answers if successor is not None} == {2}
        stored = await stores.sessions.get(session.sid)
        assert stored is not None and (stored.generation, stored.revoked_at) == (2, None)
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
    assert [await process.wait() for process in processes] == [0] * PROCESSES
    await stores.database.close()
