"""Ids in requests."""

from __future__ import annotations

import uuid


def is_uuid(text: str) -> bool:
    """Whether `text` is a UUID in the one text form that ids have here."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
