"""From what a request shows to the facts the rules compare."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from gateway.risk.device import device_label
from gateway.risk.facts import ClientFacts
from gateway.risk.network import canonical_address, network_prefix

MAX_USER_AGENT: Final = 512
_LONGEST_ADDRESS: Final = 64
_CACHED: Final = 4096


def client_facts(address: str, user_agent: str, *, v4: int = 24, v6: int = 56) -> ClientFacts:
    """The facts of a client at `address` (after trusted proxies) with this User-Agent, "" when it sends none.

    `v4` and `v6` are the lengths of the prefix that counts as the same network.
    """
    return _facts(address[:_LONGEST_ADDRESS], user_agent[:MAX_USER_AGENT], v4, v6)


@lru_cache(maxsize=_CACHED)
def _facts(address: str, user_agent: str, v4: int, v6: int) -> ClientFacts:
    return ClientFacts(
        address=canonical_address(address) or address,
        network=network_prefix(address, v4, v6),
        user_agent=user_agent,
        device=device_label(user_agent),
    )
