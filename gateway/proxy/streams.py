"""Open streams by session: they end in the same stroke as the session does, and when it is no longer refreshed."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol

from gateway import tasks
from gateway.clock import Clock
from gateway.tokens.claims import AccessClaims

GRACE: Final = 60.0
"""Seconds that a stream outlives its token while the store cannot be asked."""
RETRY: Final = 2.0
_LONGEST_SLEEP: Final = 30.0  # the wall clock may jump


class Stream(Protocol):
    """A response that stays open."""

    def end_stream(self) -> None:
        """End it now."""
        ...


AccessUntil = Callable[[Sequence[str]], Awaitable[Mapping[str, float]]]
"""For those of the sessions that live: until when the newest of their access tokens is good, epoch seconds."""


class _Held:
    """A stream and its limit: `until` is when the tokens it rests on end, `due` when that is looked at."""

    __slots__ = ("claims", "due", "strict", "until")

    def __init__(self, claims: AccessClaims, *, strict: bool) -> None:
        self.claims = claims
        self.strict = strict
        self.until = claims.expires_at
        self.due = claims.expires_at


class OpenStreams:
    """`revoked` is what the revocation index calls; `holds` tells whether claims are still good.

    At the `exp` of the token that opened it, a stream lives on if its session does and got a longer access token
    since; all streams due within a second are asked for in one read. A store that cannot be asked ends streams of
    strict routes at once, others after `GRACE`. Without `access_until` they all end at `exp`.
    """

    __slots__ = (
        "_access_until",
        "_buckets",
        "_by_session",
        "_by_user",
        "_check",
        "_holds",
        "_now",
        "_seconds",
        "_timer",
    )

    def __init__(
        self, holds: Callable[[AccessClaims], bool], clock: Clock, access_until: AccessUntil | None = None
    ) -> None:
        self._holds = holds
        self._now = clock.now
        self._access_until = access_until
        self._by_session: dict[str, dict[Stream, _Held]] = {}
        self._by_user: dict[str, set[str]] = {}
        # Streams by the second they are due in, and those seconds as a heap. Leaving one is as cheap as joining.
        self._buckets: dict[int, dict[Stream, _Held]] = {}
        self._seconds: list[int] = []
        self._timer: asyncio.TimerHandle | None = None
        self._check: asyncio.Task[object] | None = None

    def __len__(self) -> int:
        return sum(len(streams) for streams in self._by_session.values())

    def add(self, stream: Stream, claims: AccessClaims, *, strict: bool = False) -> None:
        """`stream` was opened with a token of these claims; it ends at once if they were revoked meanwhile."""
        held = _Held(claims, strict=strict)
        self._by_session.setdefault(claims.session_id, {})[stream] = held
        self._by_user.setdefault(claims.subject, set()).add(claims.session_id)
        self._schedule(stream, held)
        if not self._holds(claims):
            stream.end_stream()

    def remove(self, stream: Stream, claims: AccessClaims) -> None:
        """`stream` has ended, if it was one."""
        streams = self._by_session.get(claims.session_id)
        held = streams.pop(stream, None) if streams is not None else None
        if held is None:
            return
        self._unschedule(stream, held)
        if not streams:
            del self._by_session[claims.session_id]
            sessions = self._by_user[claims.subject]
            sessions.discard(claims.session_id)
            if not sessions:
                del self._by_user[claims.subject]

    def revoked(self, sid: str | None, user_id: str | None) -> None:
        """Something of this session or user was denied: end the streams whose claims no longer hold."""
        sids = (sid,) if sid is not None else tuple(self._by_user.get(user_id or "", ()))
        for concerned in sids:
            for stream, held in tuple(self._by_session.get(concerned, {}).items()):
                if not self._holds(held.claims):
                    stream.end_stream()

    async def check(self) -> None:
        """Look at the streams that are due, until none is."""
        while due := self._take_due():
            sids = sorted({held.claims.session_id for _, held in due})
            until: Mapping[str, float] | None = {}
            try:
                if self._access_until is not None:
                    until = await self._access_until(sids)
            except Exception:  # noqa: BLE001 - whatever it is, the store did not answer
                until = None
            for stream, held in due:
                self._settle(stream, held, until)

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._check is not None:
            self._check.cancel()
        self._seconds.clear()
        self._buckets.clear()

    def _settle(self, stream: Stream, held: _Held, until: Mapping[str, float] | None) -> None:
        """Give `stream` its new limit, or end it. It may have ended by itself meanwhile."""
        if self._by_session.get(held.claims.session_id, {}).get(stream) is not held:
            return
        now = self._now()
        if until is None and not held.strict and now < held.until + GRACE:
            held.due = int(now + RETRY)
        else:
            longer = int((until or {}).get(held.claims.session_id, 0.0))
            if longer <= max(held.until, now):
                stream.end_stream()
                return
            held.due = held.until = longer
        self._schedule(stream, held)

    def _take_due(self) -> list[tuple[Stream, _Held]]:
        now = self._now()
        due: list[tuple[Stream, _Held]] = []
        while self._seconds and self._seconds[0] <= now:
            due += self._buckets.pop(heapq.heappop(self._seconds)).items()
        return due

    def _schedule(self, stream: Stream, held: _Held) -> None:
        bucket = self._buckets.get(held.due)
        if bucket is None:
            bucket = self._buckets[held.due] = {}
            heapq.heappush(self._seconds, held.due)
            if self._seconds[0] == held.due:
                self._arm()
        bucket[stream] = held

    def _unschedule(self, stream: Stream, held: _Held) -> None:
        bucket = self._buckets.get(held.due)
        if bucket is not None:
            bucket.pop(stream, None)

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._seconds and self._check is None:
            wait = min(max(self._seconds[0] - self._now(), 0.0), _LONGEST_SLEEP)
            self._timer = asyncio.get_running_loop().call_later(wait + 0.001, self._wake)

    def _wake(self) -> None:
        self._timer = None
        while self._seconds and not self._buckets[self._seconds[0]]:  # all of that second are gone
            del self._buckets[heapq.heappop(self._seconds)]
        if self._seconds and self._seconds[0] <= self._now():
            self._check = tasks.spawn(self._look(), name="open streams")
        else:
            self._arm()

    async def _look(self) -> None:
        try:
            await self.check()
        finally:
            self._check = None
            self._arm()
