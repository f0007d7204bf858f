"""The statements of PostgreSQL that hold a whole session or user, and text that its columns cannot hold as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from gateway.credentials.user import User
from gateway.risk.facts import ClientFacts
from gateway.sessions.session import Session
from gateway.stores import codec
from gateway.stores.codec import MOVING, SESSION, USER
from gateway.stores.transitions import History

SESSION_WIDTH = len(SESSION)
USER_WIDTH = len(USER)

SESSION_COLUMNS = ", ".join(f"s.{name}" for name in SESSION)
USER_COLUMNS = ", ".join(f"u.{name}" for name in USER)
_HISTORY = ("retired_generations", "retired_times")


def _places(count: int, start: int = 1) -> list[str]:
    return [f"${number}" for number in range(start, start + count)]


INSERT_SESSION = (
    f"INSERT INTO sessions ({', '.join(SESSION)}, look_at) VALUES"  # noqa: S608
    f" ({', '.join(_places(SESSION_WIDTH + 1))})"
)
# revoked_at stays out of it, and look_at keeps its value unless the deadline came nearer: no index is written.
UPDATE_SESSION = (
    "UPDATE sessions SET "  # noqa: S608
    + ", ".join(f"{name} = {place}" for name, place in zip(MOVING, _places(len(MOVING), 2), strict=True))
    + f", retired_generations = coalesce(${len(MOVING) + 2}, retired_generations)"
    + f", retired_times = coalesce(${len(MOVING) + 3}, retired_times)"
    + f", look_at = least(look_at, ${len(MOVING) + 4}) WHERE sid = $1"
)
INSERT_USER = f"INSERT INTO users ({', '.join(USER)}) VALUES ({', '.join(_places(USER_WIDTH))})"  # noqa: S608

# NUL is the one character that text cannot hold; a header value may be stored with it nevertheless.
_ESCAPE = "\x01"


def stored(text: str) -> str:
    """`text` as a column can hold it; equal texts stay equal and different ones different."""
    if "\0" not in text and _ESCAPE not in text:
        return text
    return text.replace(_ESCAPE, _ESCAPE + "1").replace("\0", _ESCAPE + "0")


def read(text: str) -> str:
    """The text that was `stored`."""
    if _ESCAPE not in text:
        return text
    return text.replace(_ESCAPE + "0", "\0").replace(_ESCAPE + "1", _ESCAPE)


def session_of(row: Sequence[Any]) -> Session:
    """The session in the first columns of `row`."""
    session = codec.session_of(row)
    bound, seen = _facts(session.bound, read), _facts(session.seen, read)
    if bound is session.bound and seen is session.seen:
        return session
    return replace(session, bound=bound, seen=seen)


def session_insert(session: Session) -> tuple[Any, ...]:
    """The values of `INSERT_SESSION`."""
    return (*codec.session_values(_escaped(session)), session.ends_at)


def session_update(session: Session, history: History | None) -> tuple[Any, ...]:
    """The values of `UPDATE_SESSION`; history None leaves it as it is."""
    generations = times = None
    if history is not None:
        generations, times = [generation for generation, _ in history], [at for _, at in history]
    return (session.sid, *codec.moving_values(_escaped(session)), generations, times, session.ends_at)


def history_of(generations: Sequence[int] | None, times: Sequence[float] | None) -> History:
    """The generations a row remembers."""
    return tuple(zip(generations or (), times or (), strict=True))


def user_of(row: Sequence[Any]) -> User:
    """The user in the columns of `row`."""
    user = codec.user_of(row)
    if _ESCAPE in user.username or _ESCAPE in user.username_key or (user.email and _ESCAPE in user.email):
        email = read(user.email) if user.email is not None else None
        return replace(user, username=read(user.username), username_key=read(user.username_key), email=email)
    return user


def user_values(user: User) -> tuple[Any, ...]:
    """The values of `INSERT_USER`."""
    email = stored(user.email) if user.email is not None else None
    return codec.user_values(
        replace(user, username=stored(user.username), username_key=stored(user.username_key), email=email)
    )


def stored_facts(facts: ClientFacts) -> ClientFacts:
    """Facts as columns can hold them."""
    return _facts(facts, stored)


def _escaped(session: Session) -> Session:
    bound, seen = stored_facts(session.bound), stored_facts(session.seen)
    if bound is session.bound and seen is session.seen:
        return session
    return replace(session, bound=bound, seen=seen)


def _facts(facts: ClientFacts, change: Callable[[str], str]) -> ClientFacts:
    text = facts.user_agent + facts.device + facts.address + facts.network
    if "\0" not in text and _ESCAPE not in text:
        return facts
    return ClientFacts(change(facts.address), change(facts.network), change(facts.user_agent), change(facts.device))
