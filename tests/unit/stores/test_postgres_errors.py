"""What the driver raises, in the gateway's words; and which connections may be used again."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from gateway.errors import Conflict, InvalidRequest, NotFound, StoreBusy, StoreUnavailable
from gateway.stores.postgres.errors import from_postgres, is_broken, is_server_gone


@pytest.mark.parametrize(
    ("error", "meaning", "broken", "gone"),
    [
        (asyncpg.LockNotAvailableError("x"), StoreBusy, False, False),
        (asyncpg.DeadlockDetectedError("x"), StoreBusy, False, False),
        (asyncpg.SerializationError("x"), StoreBusy, False, False),
        (asyncpg.QueryCanceledError("x"), StoreBusy, False, False),
        (asyncpg.TooManyConnectionsError("x"), StoreBusy, False, False),
        (asyncpg.UniqueViolationError("x"), Conflict, False, False),
        (asyncpg.NumericValueOutOfRangeError("x"), InvalidRequest, False, False),
        (asyncpg.DataError("x"), InvalidRequest, False, False),
        (asyncpg.DiskFullError("x"), StoreUnavailable, False, False),
        (asyncpg.UndefinedTableError("x"), StoreUnavailable, False, False),
        (asyncpg.ReadOnlySQLTransactionError("x"), StoreUnavailable, True, True),
        (asyncpg.AdminShutdownError("x"), StoreUnavailable, True, True),
        (asyncpg.CannotConnectNowError("x"), StoreUnavailable, True, True),
        (asyncpg.ConnectionDoesNotExistError("x"), StoreUnavailable, True, True),
        (asyncpg.InterfaceError("x"), StoreUnavailable, True, False),
        (ConnectionResetError("x"), StoreUnavailable, True, True),
        (TimeoutError(), StoreBusy, True, True),
    ],
)
def test_driver_errors(error: Exception, meaning: type, broken: bool, gone: bool) -> None:
    mapped = from_postgres(error)
    assert type(mapped) is meaning
    assert (is_broken(error), is_server_gone(error)) == (broken, gone)
    assert mapped.retry_after is not None or meaning in {Conflict, InvalidRequest}


@pytest.mark.parametrize(
    ("error", "broken"), [(NotFound(), False), (asyncio.CancelledError(), True), (KeyError(), True)]
)
def test_what_is_none_of_the_drivers_stays_as_it_is(error: BaseException, broken: bool) -> None:
    assert from_postgres(error) is None
    assert (is_broken(error), is_server_gone(error)) == (broken, False)


def test_no_value_is_in_what_is_told() -> None:
    error = asyncpg.UniqueViolationError("duplicate key")
    error.detail = "Key (username_key)=(secret-name) already exists."
    error.constraint_name = "users_username_key_key"
    mapped = from_postgres(error)
    assert mapped is not None and "secret-name" not in f"{mapped} {mapped.debug}"
    assert "users_username_key_key" in str(mapped.debug)
