"""Driver exceptions as the gateway's own. Nothing above the stores ever sees one of a driver."""

from __future__ import annotations

import sqlite3

from gateway.errors import Conflict, GatewayError, InvalidRequest, StoreBusy, StoreUnavailable

_WAIT_AND_RETRY = ("SQLITE_BUSY", "SQLITE_LOCKED")


def from_sqlite(error: sqlite3.Error) -> GatewayError:
    """What a SQLite error means to a caller: try again, exists already, or the store is of no use now."""
    name = getattr(error, "sqlite_errorname", None) or type(error).__name__
    debug = f"{name}: {error}"
    if name.startswith(_WAIT_AND_RETRY):
        return StoreBusy(debug=debug, retry_after=1)
    if name.startswith("SQLITE_CONSTRAINT"):
        return Conflict(debug=debug)
    return StoreUnavailable(debug=debug, retry_after=5)


def translate(error: BaseException) -> BaseException:
    """The error to hand to the caller for one that came out of a unit of work."""
    if isinstance(error, sqlite3.Error):
        mapped: GatewayError = from_sqlite(error)
    elif isinstance(error, UnicodeEncodeError | OverflowError):
        mapped = InvalidRequest(debug=f"a value cannot be stored: {error}")
    else:
        return error
    mapped.__cause__ = error
    return mapped
