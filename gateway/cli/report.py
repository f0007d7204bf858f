"""Ranks sessions by how suspiciously they were refreshed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import orjson

from gateway.events import Name
from gateway.telemetry.ports import StoredEvent

_THEFT, _SUSPICIOUS, _CHALLENGED = 100, 20, 10
_REJECTED = {"challenged": _CHALLENGED, "superseded": 1, "dead": 1}
_REFRESHED = {"ahead": 10, "retry": 1}
_SHOWN_ADDRESSES = 3


@dataclass(slots=True)
class Suspect:
    """One session, or a user's refreshes that name none. `score` only orders; `reasons` count what was seen."""

    EVENTS: ClassVar[tuple[str, ...]] = (
        Name.SESSION_REFRESHED.value,
        Name.SESSION_REFRESH_REUSED.value,
        Name.SESSION_REFRESH_REJECTED.value,
        Name.SESSION_SUSPICIOUS.value,
    )

    user_id: str | None
    session_id: str | None
    score: int = 0
    last_at: float = 0.0
    reasons: Counter[str] = field(default_factory=Counter)
    addresses: Counter[str] = field(default_factory=Counter)
    username: str | None = None

    def document(self) -> dict[str, Any]:
        """As JSON shows it."""
        return {
            "score": self.score,
            "user_id": self.user_id,
            "username": self.username,
            "session_id": self.session_id,
            "last_at": self.last_at,
            "reasons": dict(self.reasons.most_common()),
            "addresses": dict(self.addresses.most_common()),
        }

    def reasons_text(self) -> str:
        """The reasons, most frequent first."""
        return ", ".join(f"{reason} x{count}" if count > 1 else reason for reason, count in self.reasons.most_common())

    def addresses_text(self) -> str:
        """The most frequent addresses."""
        shown = [address for address, _ in self.addresses.most_common(_SHOWN_ADDRESSES)]
        more = len(self.addresses) - len(shown)
        return ", ".join(shown) + (f" and {more} more" if more else "")


def rank(found: Iterable[StoredEvent]) -> list[Suspect]:
    """Sessions with anything suspicious, the most suspicious first, then the latest."""
    suspects: dict[tuple[str | None, str | None], Suspect] = {}
    for event in found:
        document = orjson.loads(event.document)
        score, reasons = _weigh(event.name, document)
        if not score:
            continue
        suspect = suspects.setdefault((event.user_id, event.session_id), Suspect(event.user_id, event.session_id))
        suspect.score += score
        suspect.last_at = max(suspect.last_at, event.at)
        suspect.reasons.update(reasons)
        for key in ("client.address", "previous.client.address"):
            if document.get(key):
                suspect.addresses[document[key]] += 1
    return sorted(suspects.values(), key=lambda suspect: (-suspect.score, -suspect.last_at))


def _weigh(name: str, document: dict[str, Any]) -> tuple[int, list[str]]:
    outcome = str(document.get("outcome", ""))
    if name == Name.SESSION_REFRESH_REUSED:
        return _THEFT, ["theft"]
    if name == Name.SESSION_SUSPICIOUS:
        return _SUSPICIOUS, [str(reason) for reason in document.get("risk.reasons", ())] or ["suspicious"]
    if name == Name.SESSION_REFRESH_REJECTED:
        reason = document.get("reason")
        if outcome not in _REJECTED or reason == "expired":
            return 0, []
        return _REJECTED[outcome], [f"{outcome}: {reason}" if reason else outcome]
    return _REFRESHED.get(outcome, 0), [outcome]
