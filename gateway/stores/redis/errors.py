"""The driver's exceptions as the gateway's own. Nothing above the stores ever sees one of the driver."""

from __future__ import annotations

from typing import NoReturn

from redis import exceptions

from gateway.errors import GatewayError, InvalidRequest, StoreBusy, StoreUnavailable

# The same call may succeed in a moment.
_BUSY = (exceptions.MaxConnectionsError, exceptions.BusyLoadingError, exceptions.TryAgainError)


def from_redis(error: BaseException) -> GatewayError | None:
    """What a failure of driver, network or server means to a caller; None when it is none of theirs.

    After a `StoreBusy` or `StoreUnavailable` nobody knows whether the server did what it was asked.
    """
    debug = f"{type(error).__name__}: {error}"
    if isinstance(error, TimeoutError | exceptions.TimeoutError):
        return StoreBusy(debug="Redis did not answer in time", retry_after=1)
    if isinstance(error, _BUSY) or (isinstance(error, exceptions.ResponseError) and str(error).startswith("BUSY ")):
        return StoreBusy(debug=debug, retry_after=1)
    if isinstance(error, exceptions.DataError):
        return InvalidRequest(debug="a value cannot be stored: it has no form Redis knows")
    if isinstance(error, exceptions.RedisError | exceptions.RedisClusterException | OSError | EOFError):
        return StoreUnavailable(debug=debug, retry_after=2)
    return None


def hand_on(error: BaseException) -> NoReturn:
    """Raise what `error` means to a caller, or itself."""
    mapped = from_redis(error)
    if mapped is None:
        raise error
    raise mapped from error
