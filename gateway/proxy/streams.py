"""Open streams of events by session: they end in the same stroke as the session does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gateway.tokens.claims import AccessClaims


class Stream(Protocol):
    """A response that stays open."""

    def end_stream(self) -> None:
        """End it now."""
        ...


class OpenStreams:
    """`revoked` is what the revocation index calls; `holds` tells whether claims are still good."""

    __slots__ = ("_by_session", "_holds")

    def __init__(self, holds: Callable[[AccessClaims], bool]) -> None:
        self._holds = holds
        self._by_session: dict[str, dict[Stream, AccessClaims]] = {}

    def __len__(self) -> int:
        return sum(len(streams) for streams in self._by_session.values())

    def add(self, stream: Stream, claims: AccessClaims) -> None:
        """`stream` was opened with a token of these claims."""
        self._by_session.setdefault(claims.session_id, {})[stream] = claims

    def remove(self, stream: Stream, claims: AccessClaims) -> None:
        """`stream` has ended, if it was one."""
        streams = self._by_session.get(claims.session_id)
        if streams is not None and streams.pop(stream, None) is not None and not streams:
            del self._by_session[claims.session_id]

    def revoked(self, sid: str | None, user_id: str | None) -> None:
        """Something of this session or user was denied: end the streams whose claims no longer hold."""
        if sid is not None:
            concerned = list(self._by_session.get(sid, {}).items())
        else:
            concerned = [
                (stream, claims)
                for streams in self._by_session.values()
                for stream, claims in streams.items()
                if claims.subject == user_id
            ]
        for stream, claims in concerned:
            if not self._holds(claims):
                stream.end_stream()
