"""https upstreams with an authority, a name and a client certificate of the operator's choice."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.backends import HEALTH
from support.certificates import Authority
from support.proxying import RawUpstream, answering, get, proxied, status_of, until

from gateway.errors import CannotStart
from gateway.proxy import upstream_tls
from gateway.proxy.health import HealthPolicy
from gateway.proxy.route_table import RouteSpec, UpstreamSpec
from gateway.proxy.upstream_tls import TlsContexts, UpstreamTls, context_of

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


class Secured:
    """An upstream over TLS. `names`: what clients asked for (SNI); `peers`: whom their certificates name."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        self.names: list[str | None] = []
        self.peers: list[str] = []
        self.raw = RawUpstream(lambda reader, writer: self._script(reader, writer))
        context.sni_callback = lambda _, name, __: self.names.append(name)

    async def _script(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found = writer.get_extra_info("peercert")
        self.peers.append(dict(pair[0] for pair in found["subject"])["commonName"] if found else "")
        await answering(OK)(self.raw)(reader, writer)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.raw.port}"


@contextlib.asynccontextmanager
async def secured(certificate: tuple[Path, Path], clients: Path | None = None) -> AsyncIterator[Secured]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients)
    up = Secured(context)
    server = await asyncio.start_server(up.raw.handle, "127.0.0.1", 0, ssl=context)
    up.raw.port = server.sockets[0].getsockname()[1]
    try:
        yield up
    finally:
        server.close()
        await until(lambda: up.raw.open == 0)


def route(url: str, tls: UpstreamTls, health: HealthPolicy | None = None) -> RouteSpec:
    return RouteSpec("api", "/api/", (UpstreamSpec(url),), tls=tls, health=health)


@pytest.mark.parametrize(
    ("issued", "server_name", "status"),
    [
        ("127.0.0.1", None, 200),
        ("backend.test", None, 502),
        ("backend.test", "backend.test", 200),
        ("backend.test", "other.test", 502),
        ("127.0.0.1", "backend.test", 502),
    ],
)
async def test_the_name_asked_for_is_the_name_checked(
    authority: Authority, issued: str, server_name: str | None, status: int
) -> None:
    tls = UpstreamTls(ca_file=str(authority.ca_file), server_name=server_name)
    async with secured(authority.issue(issued)) as up, proxied([route(up.url, tls)]) as gateway:
        assert status_of(await gateway.talk(get())) == status
        assert up.names == [server_name]
        assert len(up.raw.heads) == (status == 200)


async def test_only_the_configured_authority_is_believed(authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path, "Other CA")
    for tls, status in (
        (UpstreamTls(ca_file=str(authority.ca_file)), 200),
        (UpstreamTls(ca_file=str(other.ca_file)), 502),
        (UpstreamTls(), 502),
    ):
        async with secured(authority.issue("127.0.0.1")) as up, proxied([route(up.url, tls)]) as gateway:
            assert status_of(await gateway.talk(get())) == status
            if status == 502:
                assert "certificate verify failed" in str(gateway.notes.events[0].fields["error"])
                assert up.raw.heads == []


async def test_the_gateway_shows_its_certificate(authority: Authority) -> None:
    certificate, key = authority.issue("gateway.test")
    ca = str(authority.ca_file)
    async with secured(authority.issue("127.0.0.1"), clients=authority.ca_file) as up:
        tls = UpstreamTls(ca, str(certificate), str(key))
        health = HealthPolicy(HEALTH, interval=0.01)
        async with proxied([route(up.url, tls, health)]) as gateway:
            await until(lambda: len(up.raw.heads) > 2)
            assert status_of(await gateway.talk(get())) == 200
            assert gateway.notes.events == []
        assert set(up.peers) == {"gateway.test"}
        async with proxied([route(up.url, UpstreamTls(ca))]) as gateway:
            assert status_of(await gateway.talk(get())) == 502


async def test_routes_with_other_tls_have_connections_of_their_own(authority: Authority) -> None:
    good = route("", UpstreamTls(ca_file=str(authority.ca_file)))
    async with secured(authority.issue("127.0.0.1")) as up:
        specs = (UpstreamSpec(up.url),)
        strict = RouteSpec("good", "/api/", specs, tls=good.tls)
        plain = RouteSpec("plain", "/optional/", specs)
        async with proxied([strict, plain]) as gateway:
            assert status_of(await gateway.talk(get())) == 200
            assert status_of(await gateway.talk(get("/optional/x"))) == 502


async def test_new_connections_use_changed_files(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream_tls, "LOOK_EVERY", 0.0)
    other = Authority(tmp_path, "Other CA")
    ca = tmp_path / "ca.pem"
    ca.write_bytes(other.ca_file.read_bytes())
    async with (
        secured(authority.issue("127.0.0.1")) as up,
        proxied([route(up.url, UpstreamTls(ca_file=str(ca)))]) as gateway,
    ):
        assert status_of(await gateway.talk(get())) == 502
        ca.write_bytes(b"half a file")
        assert status_of(await gateway.talk(get())) == 502
        ca.write_bytes(authority.ca_file.read_bytes() + b"\n")
        assert status_of(await gateway.talk(get())) == 200
        names = [event.name.value for event in gateway.notes.events]
    assert names == ["upstream.down", "config.reload_failed", "upstream.up"]
    assert str(ca) in str(gateway.notes.events[1].fields["problems"])


def test_unusable_files_leave_the_old_ones_in_force_and_are_told_once(authority: Authority, tmp_path: Path) -> None:
    ca, told = tmp_path / "ca.pem", list[str]()
    ca.write_bytes(authority.ca_file.read_bytes())
    contexts = TlsContexts(UpstreamTls(ca_file=str(ca)), told.append)
    first = contexts.current(1.0)
    ca.unlink()
    assert [contexts.current(now) for now in (1.5, 3.0, 4.0, 9.0)] == [first] * 4
    assert len(told) == 1
    ca.write_bytes(authority.ca_file.read_bytes())
    assert contexts.current(9.5) is first
    assert contexts.current(10.0) is not first
    assert len(told) == 1


def test_tls_is_1_2_at_least_and_always_verified(authority: Authority) -> None:
    context = context_of(UpstreamTls(ca_file=str(authority.ca_file)))
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname


def test_what_cannot_be_used_is_one_clear_error(authority: Authority, tmp_path: Path) -> None:
    one, two = authority.issue("one.test"), authority.issue("two.test")
    locked = authority.issue("locked.test", password=b"hunter2-hunter2")
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("nothing")
    for tls in (
        UpstreamTls(ca_file=str(garbage)),
        UpstreamTls(ca_file="/nowhere.pem"),
        UpstreamTls(cert_file=str(one[0]), key_file=str(two[1])),
        UpstreamTls(cert_file=str(locked[0]), key_file=str(locked[1])),
        UpstreamTls(cert_file=str(one[0])),
    ):
        with pytest.raises(CannotStart, match=r"upstream TLS \("):
            context_of(tls)
