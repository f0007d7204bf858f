"""asyncpg's exceptions as the gateway's own. Nothing above the stores ever sees one of the driver."""

from __future__ import annotations

import asyncio
from typing import NoReturn

import asyncpg

from gateway.errors import Conflict, GatewayError, InvalidRequest, StoreBusy, StoreUnavailable

# Lock timeout, deadlock, serialisation, deadline, too many connections: the same call may succeed in a moment.
_BUSY = ("55P03", "40", "57014", "53300")
_CONSTRAINT = "23"
# Text or numbers that no column can hold.
_DATA = "22"


def from_postgres(error: BaseException) -> GatewayError | None:
    """What a failure of driver, network or server means to a caller; None when it is none of theirs."""
    debug = f"{type(error).__name__}: {error}"
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        if state.startswith(_BUSY):
            return StoreBusy(debug=debug, retry_after=1)
        if state.startswith(_CONSTRAINT):
            return Conflict(debug=f"{type(error).__name__}: {error.constraint_name}")
        if state.startswith(_DATA):
            return InvalidRequest(debug=f"a value cannot be stored: {type(error).__name__}")
        return StoreUnavailable(debug=debug, retry_after=2)
    if isinstance(error, asyncpg.DataError):
        # The text would hold the value itself.
        return InvalidRequest(debug="a value cannot be stored: it has no form the database knows")
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        return StoreBusy(debug="the database did not answer in time", retry_after=1)
    if isinstance(error, OSError | EOFError | asyncpg.InterfaceError | asyncpg.InternalClientError):
        return StoreUnavailable(debug=debug, retry_after=2)
    return None


def hand_on(error: BaseException) -> NoReturn:
    """Raise what `error` means to a caller, or itself."""
    mapped = from_postgres(error)
    if mapped is None:
        raise error
    raise mapped from error


def is_broken(error: BaseException) -> bool:
    """Whether a connection must not be used again: its state is unknown, or its server no longer the one."""
    if isinstance(error, asyncpg.PostgresError):
        return _is_gone(error)
    return not isinstance(error, GatewayError | asyncpg.DataError)


def is_server_gone(error: BaseException) -> bool:
    """Whether other connections are no better: the server ends, became a standby, or does not answer."""
    if isinstance(error, asyncpg.PostgresError):
        return _is_gone(error)
    return isinstance(error, TimeoutError | asyncio.TimeoutError | OSError)


def _is_gone(error: asyncpg.PostgresError) -> bool:
    state = error.sqlstate or ""
    return state == "25006" or state.startswith(("57P", "08"))
