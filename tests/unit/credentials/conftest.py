"""A bench per test, closed after it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from support.credentials import CredentialBench


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[CredentialBench]:
    """Users in memory with hashes that cost next to nothing."""
    made = CredentialBench()
    yield made
    await made.close()
