"""Every contract test runs on every store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.clock import FrozenClock
from support.stores import KINDS, a_user, open_kind

from gateway.credentials.user import User
from gateway.stores.bundle import Stores


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture(params=KINDS)
async def stores(request: pytest.FixtureRequest, tmp_path: Path, clock: FrozenClock) -> AsyncIterator[Stores]:
    opened = await open_kind(request.param, tmp_path, clock)
    yield opened
    await opened.database.close()


@pytest.fixture
async def user(stores: Stores) -> User:
    ada = a_user()
    await stores.users.add(ada)
    return ada
