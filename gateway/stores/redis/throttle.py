"""Limits on guessing, counted by every gateway together. The rules are those of `gateway.throttle.login`.

One script call touches one hash slot: an account with its pairs, or a network. Keys are hashed with a secret the
gateways share, so Redis learns no names, and each of them ends by itself when nothing is owed any more.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from gateway.clock import Clock
from gateway.stores.redis.client import RedisClient, Script, Word
from gateway.throttle.gcra import Limit
from gateway.throttle.login import MOST_DOUBLINGS, PENDING_LIFE
from gateway.throttle.policy import ThrottlePolicy

DEADLINE: Final = 0.25
"""Seconds; then the limits of the process itself take over."""
WELCOME: Final = 30 * 86400
"""Seconds for which a network from which someone logged in is not shut out by its neighbours."""

_RULES: Final = """
local now, life = tonumber(ARGV[2]), tonumber(ARGV[3])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end
local function text(seconds) return string.format('%.6f', seconds) end
local function load(key)
  local found = redis.call('HMGET', key, 'paid', 'failures', 'pending', 'began')
  return {key = key, paid = tonumber(found[1] or 0), failures = tonumber(found[2] or 0),
          pending = tonumber(found[3] or 0), began = tonumber(found[4] or 0), known = found[1] and true}
end
local function save(debt)
  redis.call('HSET', debt.key, 'paid', text(debt.paid), 'failures', debt.failures,
             'pending', debt.pending, 'began', text(debt.began))
  local ends = math.max(debt.paid, debt.began + life, now)
  redis.call('PEXPIRE', debt.key, math.ceil((ends - now) * 1000) + 1000)
end
local function wait(paid, limit)
  return math.max(0, paid - now - (limit.period - limit.period / limit.count))
end
local function owed(debt, limit)
  if debt.paid <= now then return 0 end
  local fresh = now - debt.began < life and debt.pending or 0
  return wait(debt.paid + fresh * limit.period / limit.count, limit)
end
local function begin(debt)
  if now - debt.began >= life then debt.pending = 0 end
  debt.pending, debt.began = debt.pending + 1, now
  save(debt)
end
local function close(debt) debt.pending = math.max(0, debt.pending - 1) end
local function fail(debt, limit, longest, doublings)
  if debt.paid <= now then debt.failures = 0 end
  debt.failures = debt.failures + 1
  local over = math.min(math.max(0, debt.failures - limit.count), doublings)
  local interval = limit.period / limit.count
  local most = now + limit.period - interval + longest
  debt.paid = math.min(math.max(debt.paid, now) + interval * 2 ^ over, most)
  save(debt)
end
local function limit(at) return {count = tonumber(ARGV[at]), period = tonumber(ARGV[at + 1])} end
local verb = ARGV[1]
"""

_ACCOUNT: Final = Script(
    _RULES
    + """
local longest, doublings, welcome = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local few, pair_limit, account_limit = limit(7), limit(9), limit(11)
local pair = load(KEYS[1])
if verb == 'check' then
  local debt = owed(pair, wait(load(KEYS[3]).paid, account_limit) > 0 and few or pair_limit)
  if debt == 0 then begin(pair) end
  return {text(debt), redis.call('EXISTS', KEYS[2])}
elseif verb == 'failed' then
  close(pair)
  fail(pair, pair_limit, longest, doublings)
  fail(load(KEYS[3]), account_limit, longest, 0)
elseif verb == 'succeeded' then
  redis.call('DEL', KEYS[1])
  redis.call('SET', KEYS[2], 1, 'EX', welcome)
elseif pair.known then
  close(pair)
  save(pair)
end
return {'0', 0}
"""
)

_NETWORK: Final = Script(
    _RULES
    + """
local longest, free, network_limit = tonumber(ARGV[4]), ARGV[5] == '1', limit(6)
local network = load(KEYS[1])
if verb == 'check' then
  local debt = free and 0 or owed(network, network_limit)
  if debt == 0 then begin(network) end
  return text(debt)
elseif verb == 'failed' then
  close(network)
  fail(network, network_limit, longest, 0)
elseif network.known then
  close(network)
  save(network)
end
return '0'
"""
)

_FORGED: Final = Script(
    _RULES
    + """
local forged_limit = limit(4)
local network = load(KEYS[1])
local interval = forged_limit.period / forged_limit.count
if verb == 'forged' then fail(network, forged_limit, forged_limit.period + interval, 0) end
return text(wait(network.paid, forged_limit))
"""
)


class _Scripts:
    """What both limiters are made of: a client, limits, hashed keys, and the time, which is the server's."""

    def __init__(
        self,
        client: RedisClient,
        secret: bytes,
        policy: ThrottlePolicy | None = None,
        *,
        wall: Clock | None = None,
        deadline: float = DEADLINE,
    ) -> None:
        self._client = client
        self._secret = secret
        self._policy = policy or ThrottlePolicy()
        self._wall = wall
        self._deadline = deadline

    def change(self, policy: ThrottlePolicy) -> None:
        """Go on under other limits; nobody's debt is forgotten."""
        self._policy = policy

    async def _run(self, script: Script, verb: str, keys: list[str], *arguments: Word) -> list[bytes] | bytes:
        now = "" if self._wall is None else repr(self._wall.monotonic())
        words = (verb, now, PENDING_LIFE, *arguments)
        answer: list[bytes] | bytes = await self._client.run(script, keys, words, deadline=self._deadline)
        return answer

    def _hash(self, *parts: str) -> str:
        text = "\0".join(parts).encode("utf-8", "surrogatepass")
        return blake2b(text, digest_size=16, key=self._secret).hexdigest()


class RedisLoginLimiter(_Scripts):
    """The `LoginLimiter` of all gateways together. `secret`: the same for all, 16 to 64 bytes.

    Raises `StoreBusy` or `StoreUnavailable`; what was begun then counts as under way for half a minute at most. `wall`
    stands in for the server's clock in tests.
    """

    async def check(self, username_key: str, network: str) -> float:
        """Seconds to wait, 0 to go on: then the attempt counts as under way."""
        if not self._policy.enabled:
            return 0.0
        answer = await self._account("check", username_key, network)
        delay, welcome = float(answer[0]), int(answer[1])
        if delay > 0:
            return delay
        # Someone who logged in from here before is not shut out by what the neighbours do.
        delay = await self._network("check", network, free=bool(welcome))
        if delay > 0:
            await self._account("abandoned", username_key, network)
        return delay

    async def failed(self, username_key: str, network: str) -> None:
        """Charge the pair, the account and the network."""
        await self._tell("failed", username_key, network)

    async def succeeded(self, username_key: str, network: str) -> None:
        """Forgive the pair; the network keeps its debt."""
        await self._tell("succeeded", username_key, network)

    async def abandoned(self, username_key: str, network: str) -> None:
        """Take the attempt back."""
        await self._tell("abandoned", username_key, network)

    async def _tell(self, verb: str, username_key: str, network: str) -> None:
        if self._policy.enabled:
            await self._account(verb, username_key, network)
            await self._network(verb, network)

    async def _account(self, verb: str, username_key: str, network: str) -> list[bytes] | bytes:
        policy, account = self._policy, self._hash(username_key)
        pair = f"gw:throttle:{{{account}}}:{self._hash(username_key, network)}"
        keys = [pair, f"{pair}:welcome", f"gw:throttle:{{{account}}}"]
        limits = (*_words(policy.pair_under_attack), *_words(policy.pair), *_words(policy.account))
        return await self._run(_ACCOUNT, verb, keys, policy.longest_wait, MOST_DOUBLINGS, WELCOME, *limits)

    async def _network(self, verb: str, network: str, *, free: bool = False) -> float:
        policy = self._policy
        keys = [f"gw:throttle:{{{self._hash(network)}}}:network"]
        answer = await self._run(_NETWORK, verb, keys, policy.longest_wait, int(free), *_words(policy.network))
        return float(answer)  # type: ignore[arg-type]


class RedisRefreshLimiter(_Scripts):
    """The `RefreshLimiter` of all gateways together. Raises `StoreBusy` or `StoreUnavailable`."""

    async def check(self, network: str) -> float:
        """Seconds to wait before another forged token is answered as such; 0: answer."""
        return await self._forged("check", network)

    async def forged(self, network: str) -> None:
        """A token with a bad MAC came from `network`."""
        await self._forged("forged", network)

    async def _forged(self, verb: str, network: str) -> float:
        if not self._policy.enabled:
            return 0.0
        keys = [f"gw:throttle:{{{self._hash(network)}}}:forged"]
        return float(await self._run(_FORGED, verb, keys, *_words(self._policy.forged_refresh)))  # type: ignore[arg-type]


def _words(limit: Limit) -> tuple[int, float]:
    return limit.count, limit.period
