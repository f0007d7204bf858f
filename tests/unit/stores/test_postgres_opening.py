"""Opening PostgreSQL: migrated once by however many start, or one clear sentence why not, without the password."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import asyncpg
import pytest
from support import postgres
from support.clock import FrozenClock
from support.postgres import PASSWORD
from support.process import free_port
from support.relay import relay_to
from support.stores import a_user

from gateway.clock import SystemClock
from gateway.errors import CannotStart
from gateway.stores.bundle import Stores
from gateway.stores.factory import examine, open_stores
from gateway.stores.migrations import Migration
from gateway.stores.postgres import open_postgres
from gateway.stores.postgres.migrate import migrate, shipped
from gateway.stores.postgres.target import target_of


async def opened(url: str, **options: int) -> Stores:
    return await open_stores(url, clock=FrozenClock(), busy_timeout=1.0, **options)


async def refused(url: str) -> str:
    """The sentence with which opening is refused."""
    with pytest.raises(CannotStart) as caught:
        await opened(url)
    sentence = str(caught.value)
    assert PASSWORD not in sentence and "hunter2" not in sentence
    assert "\n" not in sentence
    return sentence


@pytest.fixture
async def empty() -> AsyncIterator[str]:
    """A database without tables, gone afterwards."""
    yield await postgres.server().make("empty")


async def superuser(sql: str, database: str = "empty") -> None:
    connection = await postgres.server().connect(database)
    await connection.execute(sql)
    await connection.close()


async def test_many_that_start_at_once_migrate_once(empty: str) -> None:
    stores = await asyncio.gather(*(opened(empty) for _ in range(5)))
    await stores[0].users.add(a_user())
    assert [len(await one.users.list_users()) for one in stores] == [1] * 5
    for one in stores:
        await one.database.close()
    connection = await postgres.server().connect("empty")
    assert await connection.fetchval("SELECT count(*) FROM schema_migrations") == len(shipped())
    await connection.close()


async def test_a_later_start_applies_what_is_new_and_keeps_what_is_there(empty: str) -> None:
    stores = await opened(empty)
    await stores.users.add(a_user())
    await stores.database.close()
    connection = await asyncpg.connect(empty)
    more = Migration(len(shipped()) + 1, "0002_more.sql", "CREATE TABLE more (a integer); INSERT INTO more VALUES (1);")
    for _ in range(2):
        await migrate(connection, (*shipped(), more))
    assert await connection.fetchval("SELECT count(*) FROM more") == 1
    assert await connection.fetchval("SELECT count(*) FROM users") == 1
    await connection.close()
    assert "has schema 2, newer than this version of the gateway knows (1)" in await refused(empty)


async def test_a_migration_that_fails_leaves_nothing(empty: str) -> None:
    connection = await asyncpg.connect(empty)
    broken = Migration(len(shipped()) + 1, "0002_broken.sql", "CREATE TABLE more (a integer); SELECT 1/0;")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(connection, (*shipped(), broken))
    assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
    await migrate(connection, shipped())
    await connection.close()


async def test_an_edited_migration_is_noticed(empty: str) -> None:
    await (await opened(empty)).database.close()
    await superuser("UPDATE schema_migrations SET checksum = 'another'")
    assert "was migrated by another version of 0001_initial.sql" in await refused(empty)


@pytest.mark.parametrize(
    "tables", ["CREATE TABLE users (id integer)", "CREATE TABLE schema_migrations (version varchar)"]
)
async def test_tables_of_another_program_are_left_alone(empty: str, tables: str) -> None:
    await superuser(f"SET ROLE gateway; {tables}")
    assert "holds tables of some other program" in await refused(empty)


async def test_what_a_start_would_do_is_told_and_not_done(empty: str) -> None:
    with pytest.raises(CannotStart, match=r"lacks 0001_initial.sql: `gateway serve` applies it"):
        await examine(empty)
    await (await opened(empty)).database.close()
    assert await examine(empty) == f"127.0.0.1:{postgres.server().port}/empty, PostgreSQL {await version()}, schema 1"


async def version() -> str:
    connection = await postgres.server().connect("postgres")
    found = connection.get_server_version()
    await connection.close()
    return f"{found.major}.{found.minor}"


async def test_a_wrong_password() -> None:
    url = postgres.server().url().replace(PASSWORD, "hunter2-not-it")
    assert "refuses the password" in await refused(url)


async def test_an_unknown_role_or_database() -> None:
    assert "refuses the" in await refused(postgres.server().url().replace("//gateway:", "//nobody:"))
    assert "does not exist: create it" in await refused(postgres.server().url("nowhere"))


async def test_no_server() -> None:
    sentence = await refused(f"postgresql://gateway:{PASSWORD}@127.0.0.1:{free_port()}/gateway")
    assert "cannot be reached: Connect" in sentence


async def test_a_server_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.stores.postgres.target.CONNECT_TIMEOUT", 0.1)
    async with relay_to(postgres.server().port) as relay:
        relay.running.clear()
        assert "does not answer within" in await refused(postgres.server().url(port=relay.port))


async def test_a_role_that_may_not_make_tables(empty: str) -> None:
    await superuser("ALTER DATABASE empty OWNER TO postgres; REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    await superuser("ALTER SCHEMA public OWNER TO postgres")
    assert "may not be used by this role: GRANT" in await refused(empty)


async def test_a_database_one_can_only_read(empty: str) -> None:
    await (await opened(empty)).database.close()
    await superuser("ALTER ROLE gateway IN DATABASE empty SET default_transaction_read_only = on")
    assert "is read-only, perhaps a standby" in await refused(empty)
    sentence = await refused(f"{empty}?target_session_attrs=read-write")
    assert "target_session_attrs does not hold" in sentence


async def test_a_database_that_forgets_what_it_acknowledged(empty: str) -> None:
    await superuser("ALTER DATABASE empty SET synchronous_commit = off")
    assert "synchronous_commit off" in await refused(empty)
    await (await opened(f"{empty}?synchronous_commit=on")).database.close()


async def test_the_host_that_takes_writes_is_found() -> None:
    await postgres.server().wipe()
    port = postgres.server().port
    hosts = f"127.0.0.1:{free_port()},127.0.0.1:{port}"
    url = postgres.server().url(query="?target_session_attrs=read-write").replace(f"127.0.0.1:{port}", hosts)
    stores = await opened(url)
    assert await stores.sessions.get("nobody") is None
    await stores.database.close()


async def test_tls_that_cannot_be_had_is_not_done_without() -> None:
    assert "cannot" in await refused(postgres.server().url(query="?sslmode=require"))


async def test_a_password_file(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    passes = tmp_path / "pgpass"
    passes.write_text(f"127.0.0.1:{postgres.server().port}:*:gateway:{PASSWORD}\n")
    passes.chmod(0o600)
    bare = (await postgres.server().wipe()).replace(f":{PASSWORD}@", "@")
    for url in (f"{bare}?passfile={passes}", bare):
        stores = await opened(url)
        assert await stores.sessions.get("nobody") is None
        await stores.database.close()
        monkeypatch.setenv("PGPASSFILE", str(passes))


async def test_time_is_the_servers_and_close_to_ours() -> None:
    stores = await opened(await postgres.server().wipe())
    assert abs(await stores.sessions.now() - SystemClock().now()) < 5
    assert abs(await stores.sessions.now() - FrozenClock().now()) > 5
    await stores.database.close()


async def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("gateway.stores.postgres")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    monkeypatch.delattr("gateway.stores.postgres", raising=False)
    with pytest.raises(CannotStart, match=r"pip install 'auth-gateway\[postgres\]'"):
        await open_stores(postgres.server().url(), clock=FrozenClock(), busy_timeout=1.0)


@pytest.mark.parametrize(
    ("url", "label", "driver", "pooled"),
    [
        ("postgresql://u:hunter2@h/d", "h/d", "postgresql://u:hunter2@h/d", False),
        ("postgres://a,b:1/d?pgbouncer=true&sslmode=require", "a,b:1/d", "postgresql://a,b:1/d?sslmode=require", True),
        ("postgresql:///d?host=/run/pg&pgbouncer=false", "local socket/d", "postgresql:///d?host=%2Frun%2Fpg", False),
        ("postgresql://h/d?pgbouncer=on", "h/d", "postgresql://h/d", True),
    ],
)  # fmt: skip
def test_what_a_url_says(url: str, label: str, driver: str, pooled: bool) -> None:
    target = target_of(url, busy_timeout=3.0)
    assert (target.label, target.url, target.pooled) == (label, driver, pooled)
    assert (target.lock_wait, target.deadline) == (1.0, 5.0)


@pytest.mark.parametrize(
    "url", ["postgresql://[h/hunter2", "postgresql://h/d?pgbouncer=hunter2", "postgresql://h/d?hunter2"]
)
async def test_a_url_that_cannot_be_read(url: str) -> None:
    with pytest.raises(CannotStart, match="the database URL") as caught:
        await open_postgres(url, clock=FrozenClock(), busy_timeout=1.0)
    assert "hunter2" not in str(caught.value)


async def test_a_url_the_driver_cannot_read_is_not_repeated() -> None:
    assert "the driver does not understand its URL" in await refused("postgresql://u:hunter2@h:port/d")


@pytest.mark.parametrize("password", ["hun/ter2", "hun#ter2", "hun?ter2", "hun@x/ter2"])
def test_a_password_with_an_unescaped_character_is_not_taken_for_a_host(password: str) -> None:
    try:
        label = target_of(f"postgresql://u:{password}@h/d", busy_timeout=1.0).label
    except CannotStart as error:
        label = str(error)
    assert "hun" not in label and "ter2" not in label
