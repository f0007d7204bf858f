"""The event that says: from here on requests are served."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.events import Event, Level, Name
from gateway.settings.model import Settings


def started(settings: Settings, warnings: Sequence[str], workers: int = 1) -> Event:
    """`gateway.started`; a warning when something about the deployment should be changed."""
    fields: dict[str, object] = {"listen": settings.server.listen, "public_url": settings.server.public_url}
    if workers > 1:
        fields["workers"] = workers
    if warnings:
        fields["warnings"] = list(warnings)
    return Event(Name.GATEWAY_STARTED, Level.WARNING if warnings else Level.INFO, fields=fields)
