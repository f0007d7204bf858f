"""`passwords.hashing` reaches the threads that hash."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.app import open_gateway
from gateway.clock import SystemClock
from gateway.credentials.pool import default_permits
from gateway.settings.model import Settings


@pytest.mark.parametrize(
    ("hashing", "limit"), [({"permits": 3, "queue": 5}, 8), ({"permits": "auto", "queue": 0}, default_permits())]
)
async def test_permits_and_queue_are_those_of_the_settings(
    tmp_path: Path, hashing: dict[str, object], limit: int
) -> None:
    settings = Settings.model_validate(
        {"storage": {"database": f"sqlite:///{tmp_path}/gateway.db"}, "passwords": {"hashing": hashing}}
    )
    async with open_gateway(settings, SystemClock()) as gateway:
        assert gateway.hasher._pool._limit == limit
