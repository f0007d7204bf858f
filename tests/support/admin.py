"""The admin API on memory stores with real services."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import orjson
from aiohttp import DummyCookieJar
from aiohttp.test_utils import TestClient, TestServer

from gateway.admin_api.app import add_admin_api
from gateway.admin_api.health import Report, build_admin
from gateway.admin_api.services import AdminServices
from gateway.credentials.user import User
from gateway.risk.facts import RequestContext
from gateway.sessions.service import Issued
from gateway.sessions.session import Channel
from gateway.telemetry.activity import Activity
from gateway.telemetry.events import EventLog
from gateway.telemetry.history import EventHistory
from gateway.telemetry.metrics import Family
from gateway.tokens.key_service import KeyService
from support.api import Answer, ApiBench
from support.leaks import WATCH
from support.sessions import context
from support.tokens import master_keys

TOKEN = "admin-token-only-for-tests-0123456789"


class AdminBench(ApiBench):
    """Everything behind the admin API, open to the test. `services` may be replaced at any time."""

    def __init__(self, token: str | None = TOKEN) -> None:
        super().__init__()
        WATCH.secret(TOKEN, "the admin token")
        self.activity = Activity(self.stores.events, self.clock, keep=1000)
        self.log = EventLog(self.clock, activity=self.activity)
        self.keys = KeyService(self.stores.keys, master_keys(), self.clock, "EdDSA", None, 900.0, self.events)
        self.admin_services = AdminServices(
            token,
            self.sessions,
            self.users,
            self.keys,
            EventHistory(self.stores.events),
            self.services.contexts,
            self.events,
        )

        async def readiness() -> Report:
            return Report({})

        async def snapshot() -> list[Family]:
            return []

        self.app = build_admin(readiness, snapshot)
        self.admin = add_admin_api(self.app, lambda: self.admin_services)

    def change(self, **values: Any) -> None:
        """Other services, as after a reload."""
        self.admin_services = replace(self.admin_services, **values)

    async def log_in(self, user: User, ctx: RequestContext | None = None) -> Issued:
        """A session of the user."""
        return await self.sessions.start(user, Channel.BODY, ctx or context(), ("pwd",))

    async def record(self) -> None:
        """Store what happened so far as a running gateway does."""
        for event in self.events.events:
            self.log.emit(event)
        await self.activity.flush()

    async def close(self) -> None:
        await self.activity.close()
        await super().close()


class Admin:
    """Calls the admin API over loopback, with the token unless told otherwise."""

    def __init__(self, bench: AdminBench, client: TestClient[Any, Any]) -> None:
        self.bench = bench
        self.client = client

    async def call(
        self,
        method: str,
        path: str,
        members: object = None,
        *,
        data: bytes | None = None,
        token: str | None = TOKEN,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        sent = dict(headers or {})
        if token is not None:
            sent.setdefault("Authorization", f"Bearer {token}")
        if members is not None:
            data = orjson.dumps(members)
            sent.setdefault("Content-Type", "application/json")
        async with self.client.request(
            method, path, data=data, headers=sent, skip_auto_headers=("Content-Type",), allow_redirects=False
        ) as answer:
            body = await answer.read()
        WATCH.answer(answer.status, answer.headers.items(), body, f"{method} {path.partition('?')[0]}")
        WATCH.output(body, f"the body of {method} {path.partition('?')[0]}")  # no answer here has a secret
        return Answer(answer.status, answer.headers, body, ())

    async def get(self, path: str) -> dict[str, Any]:
        """The members of a good answer."""
        answer = await self.call("GET", path)
        assert answer.status == 200, answer.body
        return answer.json

    async def pages(self, path: str, member: str, limit: int) -> list[list[dict[str, Any]]]:
        """All pages of a list."""
        found, after = [], ""
        for _ in range(50):
            page = await self.get(f"{path}limit={limit}{after}")
            found.append(page[member])
            if page["next"] is None:
                return found
            after = f"&after={page['next']}"
        raise AssertionError("the list does not end")


@asynccontextmanager
async def administering(bench: AdminBench) -> AsyncIterator[Admin]:
    """The bench's application on a free port of loopback."""
    server = TestServer(bench.app)
    # As the gateway sets its own server up.
    await server.start_server(auto_decompress=False, access_log=None)
    client = TestClient(server, cookie_jar=DummyCookieJar())
    await bench.keys.load()
    try:
        yield Admin(bench, client)
    finally:
        await client.close()
        await bench.close()
