"""What log-in and refresh ask of a limiter."""

from __future__ import annotations

from typing import Protocol

from gateway.throttle.policy import ThrottlePolicy


class LoginLimiter(Protocol):
    """Limits guessing. `username_key` is the folded name, `network` the client's address prefix.

    After a `check` that returned 0, exactly one of `failed`, `succeeded` and `abandoned` is called.
    """

    async def check(self, username_key: str, network: str) -> float:
        """Seconds to wait before the password may be looked at; 0: go on, the attempt is counted as under way."""
        ...

    async def failed(self, username_key: str, network: str) -> None:
        """The attempt was wrong."""
        ...

    async def succeeded(self, username_key: str, network: str) -> None:
        """The attempt was right."""
        ...

    async def abandoned(self, username_key: str, network: str) -> None:
        """The attempt came to no answer (an outage, a closed connection): it counts for nothing."""
        ...


class RefreshLimiter(Protocol):
    """Limits forged refresh tokens. A token with a good MAC is never asked about here."""

    async def check(self, network: str) -> float:
        """Seconds to wait before another forged token is answered as such; 0: answer."""
        ...

    async def forged(self, network: str) -> None:
        """A token with a bad MAC came from `network`."""
        ...


class SharedLoginLimiter(LoginLimiter, Protocol):
    """One that all gateways count in together. Raises `StoreBusy` or `StoreUnavailable`."""

    def change(self, policy: ThrottlePolicy) -> None:
        """Go on under other limits."""
        ...


class SharedRefreshLimiter(RefreshLimiter, Protocol):
    """One that all gateways count in together. Raises `StoreBusy` or `StoreUnavailable`."""

    def change(self, policy: ThrottlePolicy) -> None:
        """Go on under other limits."""
        ...
