"""The first connection: an up-to-date database, or one clear sentence why not."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg

from gateway.errors import CannotStart
from gateway.stores.postgres.connections import close
from gateway.stores.postgres.driver import Connection
from gateway.stores.postgres.migrate import READ_ONLY, Schema, inspect, migrate, shipped
from gateway.stores.postgres.target import CONNECT_TIMEOUT, Target

T = TypeVar("T")

_REASONS: dict[str, str] = {
    "28P01": "refuses the password: check the URL, the password file and the role",
    "28000": "refuses the log-in: there is no such role, or pg_hba.conf does not let it in",
    "3D000": "does not exist: create it (CREATE DATABASE) and give the gateway's role the right to use it",
    "42501": "may not be used by this role: GRANT CONNECT on the database and CREATE, USAGE on its schema",
    "3F000": "has no schema that this role may create tables in: look at its search_path",
    "53300": "has no connection left: raise max_connections or lower storage.pool",
    "57P03": "is starting up or shutting down",
    "25006": READ_ONLY,
    "55P03": "is being migrated by another gateway and did not get done in time",
}


async def open_first(target: Target) -> Connection:
    """A connection to the migrated database. Raises `CannotStart`; no message holds the URL or its password."""

    async def work(connection: Connection) -> Connection:
        await migrate(connection, shipped())
        return connection

    return await _explained(target, work, keep=True)


async def examine(target: Target) -> Schema:
    """What is there, changing nothing. Raises `CannotStart`."""
    return await _explained(target, lambda connection: inspect(connection, shipped()), keep=False)


async def _explained(target: Target, work: Callable[[Connection], Awaitable[T]], *, keep: bool) -> T:
    try:
        connection = await target.connect()
        try:
            result = await work(connection)
        except BaseException:
            await close(connection)
            raise
        if not keep:
            await close(connection)
        return result
    except CannotStart as error:
        raise CannotStart(f"the database {target.label} {error.detail}") from error
    except Exception as error:
        raise CannotStart(f"the database {target.label} {_reason(error)}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, asyncpg.PostgresError):
        return _REASONS.get(error.sqlstate or "", f"cannot be used: {str(error).partition(chr(10))[0]}")
    if isinstance(error, TimeoutError):
        return f"does not answer within {CONNECT_TIMEOUT:g} s"
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return "is on none of these hosts in the wanted state: target_session_attrs does not hold for any of them"
    if isinstance(error, ssl.SSLError):
        return f"cannot be trusted: {error.reason or 'TLS failed'}"
    if isinstance(error, OSError):
        return f"cannot be reached: {error.strerror or type(error).__name__}"
    if isinstance(error, ValueError | asyncpg.InterfaceError):
        # The driver's words could hold parts of the URL.
        return "cannot be used: the driver does not understand its URL"
    return f"cannot be used: {type(error).__name__}"
