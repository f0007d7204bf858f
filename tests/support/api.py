"""The API on memory stores with real services, and a client that says exactly which headers it sends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
from aiohttp import ClientResponse, DummyCookieJar
from aiohttp.test_utils import TestClient, TestServer

from gateway.auth_api.app import build_api
from gateway.auth_api.services import ApiLimits, ApiServices
from gateway.credentials.authenticator import Authenticator
from gateway.credentials.hasher import PasswordHasher
from gateway.credentials.user import User
from gateway.credentials.users import UserService
from gateway.events import Event, Name
from gateway.sessions.denial import RevocationIndex
from gateway.sessions.denied_use import DeniedUse
from gateway.sessions.policy import RotationPolicy
from gateway.sessions.receipts import ReceiptQueue
from gateway.sessions.service import SessionService
from gateway.stores.memory import open_memory
from gateway.throttle.login import LoginThrottle
from gateway.throttle.policy import ThrottlePolicy
from gateway.throttle.refresh import RefreshThrottle
from gateway.tokens.access_token import AccessTokenIssuer, AccessTokenVerifier
from gateway.tokens.jwks import jwks_document
from gateway.tokens.keyring import KeyRing, RingKey
from gateway.tokens.refresh_token import RefreshTokens
from gateway.web.bearer import BearerAuthenticator
from gateway.web.client_ip import ClientAddress
from gateway.web.context import RequestContexts
from gateway.web.cookies import CookiePolicy
from gateway.web.csrf import CrossSitePolicy
from gateway.web.request_id import RequestIds
from support.clock import FrozenClock
from support.credentials import CHEAP, Recorder
from support.leaks import WATCH
from support.tokens import AUDIENCE, ISSUER, key_pair, master_keys

PASSWORD = "correct horse battery staple"
PUBLIC_URL = "http://127.0.0.1:8080"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
SAFARI = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Mobile/15E148 Safari/604.1"


@dataclass
class ApiSetup:
    """What a test may set before the application is built."""

    policy: RotationPolicy = field(default_factory=RotationPolicy)
    throttle: ThrottlePolicy = field(default_factory=ThrottlePolicy)
    limits: ApiLimits = field(default_factory=ApiLimits)
    cookie: CookiePolicy = field(default_factory=CookiePolicy)
    trusted_proxies: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    prefix: str = "/auth"


class ApiBench:
    """Everything behind the API, open to the test."""

    def __init__(self, setup: ApiSetup | None = None) -> None:
        self.setup = setup = setup or ApiSetup()
        self.clock = FrozenClock()
        self.stores = open_memory(self.clock)
        self.events = Recorder()
        self.ring = KeyRing([RingKey(key_pair(), 0.0, None)])
        self.index = RevocationIndex()
        self.receipts = ReceiptQueue(self.stores.sessions, self.clock, self.events)
        self.hasher = PasswordHasher(CHEAP, permits=1)
        self.verifier = AccessTokenVerifier(self.ring, ISSUER, AUDIENCE, self.clock)
        self.refresh_tokens = RefreshTokens(master_keys(), b"i" * 16)
        self.sessions = SessionService(
            self.stores.sessions,
            self.refresh_tokens,
            AccessTokenIssuer(self.ring, ISSUER, AUDIENCE),
            self.index,
            self.receipts,
            self.events,
            self.clock,
            setup.policy,
        )
        self.users = UserService(self.stores.users, self.hasher, self.clock)
        self.services = ApiServices(
            sessions=self.sessions,
            users=self.users,
            authenticator=Authenticator(self.stores.users, self.hasher, self.events),
            throttle=LoginThrottle(self.clock, setup.throttle),
            refresh_throttle=RefreshThrottle(self.clock, setup.throttle),
            bearer=BearerAuthenticator(self.verifier, self.index, self.receipts, DeniedUse(self.events)),
            jwks=lambda: jwks_document(self.ring),
            contexts=RequestContexts(ClientAddress(setup.trusted_proxies), RequestIds(), self.clock),
            origins=CrossSitePolicy(PUBLIC_URL, setup.allowed_origins),
            cookie=setup.cookie,
            clock=self.clock,
            events=self.events,
            limits=setup.limits,
            prefix=setup.prefix,
            public_url=PUBLIC_URL,
        )
        self.app = build_api(self.services)

    async def add_user(self, name: str = "ada", *, roles: tuple[str, ...] = ("user",)) -> User:
        return await self.users.add(name, PASSWORD, email=f"{name}@example.com", roles=roles)

    def replace_services(self, **changes: Any) -> None:
        """Build the application again with other services."""
        self.services = replace(self.services, **changes)
        self.app = build_api(self.services)

    def named(self, name: Name) -> list[Event]:
        """The events of this name so far."""
        return [event for event in self.events.events if event.name is name]

    async def live(self, user: User) -> int:
        """How many sessions of the user are live."""
        return len(await self.stores.sessions.list_live(user.user_id))

    async def close(self) -> None:
        await self.receipts.close()
        await self.hasher.close()


@dataclass
class Answer:
    """An answer, read."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    cookies: tuple[str, ...]

    @property
    def json(self) -> dict[str, Any]:
        document: dict[str, Any] = orjson.loads(self.body)
        return document

    @property
    def error(self) -> str:
        return str(self.json["error"])

    @property
    def cookie(self) -> str:
        """The `name=value` of the one cookie that is set."""
        (header,) = self.cookies
        return header.partition(";")[0]


class Api:
    """Calls the API over loopback."""

    def __init__(self, bench: ApiBench, client: TestClient[Any, Any]) -> None:
        self.bench = bench
        self.client = client
        self.prefix = bench.setup.prefix

    async def call(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        data: Any = None,
        bearer: str | None = None,
        cookie: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        sent = {"User-Agent": FIREFOX} | dict(headers or {})
        if bearer is not None:
            sent["Authorization"] = f"Bearer {bearer}"
        if cookie is not None:
            sent["Cookie"] = cookie
        if json is not None:
            data, sent = orjson.dumps(json), {"Content-Type": "application/json"} | sent
        target = path if path.startswith("/") else f"{self.prefix}/{path}"
        answer: ClientResponse = await self.client.request(
            method, target, data=data, headers=sent, skip_auto_headers=("Content-Type",), allow_redirects=False
        )
        body = await answer.read()
        WATCH.answer(answer.status, answer.headers.items(), body, f"{method} {target.partition('?')[0]}")
        return Answer(answer.status, answer.headers, body, tuple(answer.headers.getall("Set-Cookie", ())))

    async def post(self, path: str, **options: Any) -> Answer:
        return await self.call("POST", path, **options)

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.call("GET", path, **options)

    async def login(self, username: str = "ada", password: str = PASSWORD, **options: Any) -> Answer:
        """Log in and expect that to work."""
        members = {"username": username, "password": password, **options.pop("members", {})}
        answer = await self.post("login", json=members, **options)
        assert answer.status == 200, answer.body
        return answer

    async def body_login(self, username: str = "ada", **options: Any) -> dict[str, Any]:
        """Log in for tokens in the body; the answer's members."""
        return (await self.login(username, members={"token_delivery": "body"}, **options)).json

    async def raw(self, request: bytes) -> bytes:
        """Send bytes as they are and read until the other side closes; the request should ask for that."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.client.port)
        try:
            writer.write(request)
            return await asyncio.wait_for(reader.read(), 10)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


@asynccontextmanager
async def serving(bench: ApiBench) -> AsyncIterator[Api]:
    """The bench's application on a free port of loopback."""
    server = TestServer(bench.app)
    # As the gateway's own server is set up: bodies as they came.
    await server.start_server(auto_decompress=False)
    client = TestClient(server, cookie_jar=DummyCookieJar())
    try:
        yield Api(bench, client)
    finally:
        await client.close()
        await bench.close()
