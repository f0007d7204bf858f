"""The statements of SQLite that hold a whole session or user, and how the history of a row is written."""

from __future__ import annotations

from typing import Any

import orjson

from gateway.sessions.session import Session
from gateway.stores.codec import MOVING, SESSION, USER, moving_values
from gateway.stores.transitions import History

SESSION_WIDTH = len(SESSION)

SESSION_COLUMNS = ", ".join(f"s.{name}" for name in SESSION)
USER_COLUMNS = ", ".join(f"u.{name}" for name in USER)
INSERT_SESSION = f"INSERT INTO sessions ({', '.join(SESSION)}) VALUES ({', '.join('?' * len(SESSION))})"  # noqa: S608
# revoked_at stays out of it: an index column that is set is an index entry that is written again.
UPDATE_SESSION = f"UPDATE sessions SET {', '.join(f'{name} = ?' for name in (*MOVING, 'retired'))} WHERE sid = ?"  # noqa: S608
INSERT_USER = f"INSERT INTO users ({', '.join(USER)}) VALUES ({', '.join('?' * len(USER))})"  # noqa: S608


def session_update(session: Session, retired: str) -> tuple[Any, ...]:
    """The values of `UPDATE_SESSION`."""
    return (*moving_values(session), retired, session.sid)


def history_of(text: str) -> History:
    """The generations a row remembers."""
    return tuple((generation, at) for generation, at in orjson.loads(text))


def history_text(history: History) -> str:
    """The history as JSON text."""
    return orjson.dumps(history).decode()
