"""`gateway sessions`: list and end sessions, by user or session id. Running gateways notice within a second."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import click

from gateway.cli import output
from gateway.cli.context import Deployment, config_option, load_settings, open_deployment, run_async
from gateway.credentials.names import fold_username
from gateway.credentials.user import User
from gateway.errors import InvalidRequest, NotFound
from gateway.sessions.ports import Ended
from gateway.sessions.session import RevokeReason, Session
from gateway.settings.model import Settings

_PAGE = 1000


@click.group()
def sessions() -> None:
    """List and end sessions."""


@sessions.command("list")
@click.argument("who", required=False)
@config_option
@output.json_option
def list_sessions(who: str | None, config_path: Path | None, as_json: bool) -> None:
    """Live sessions: all, or those of WHO, a user name or id, or one session by its id."""
    found, names = run_async(_list(load_settings(config_path).settings, who))
    if as_json:
        output.print_json([_document(session, names) for session in found], indent=True)
        return
    rows = [
        (
            session.sid,
            names.get(session.user_id, session.user_id),
            output.timestamp(session.created_at),
            output.timestamp(session.last_seen_at),
            output.timestamp(session.ends_at),
            session.seen.address,
            session.seen.device,
        )
        for session in found
    ]
    headings = ("session", "user", "created", "last used", "expires", "address", "device")
    output.print_table(headings, rows, empty="no live session")


@sessions.command()
@click.argument("who")
@config_option
def revoke(who: str, config_path: Path | None) -> None:
    """End one session by its id, or all sessions of a user by name or id."""
    count = run_async(_revoke(load_settings(config_path).settings, who))
    click.echo(f"ended {_count(count)}")


@sessions.command("end-all")
@config_option
@click.option("--yes", is_flag=True, help="Do not ask.")
def end_all(config_path: Path | None, yes: bool) -> None:
    """End every session of every user, as after restoring a backup: everybody logs in again."""
    loaded = load_settings(config_path)
    if not yes:
        click.confirm("End every session of every user?", abort=True)
    click.echo(f"ended {_count(run_async(_end_all(loaded.settings)))}")


async def _list(settings: Settings, who: str | None) -> tuple[list[Session], dict[str, str]]:
    async with open_deployment(settings) as deployment:
        sessions_ = deployment.stores.sessions
        names: dict[str, str] = {}
        if who is None:
            found = await _all_live(deployment)
        elif (one := await sessions_.get(_session_id(who))) is not None:
            found = [one] if one.is_live(await sessions_.now()) else []
        else:
            user = await _user(deployment, who)
            found = list(await sessions_.list_live(user.user_id))
        for user_id in {session.user_id for session in found}:
            known = await deployment.stores.users.by_id(user_id)
            names[user_id] = known.username if known is not None else user_id
        return found, names


async def _revoke(settings: Settings, who: str) -> int:
    async with open_deployment(settings) as deployment:
        store = deployment.stores.sessions
        if await store.get(_session_id(who)) is not None:
            ended = await store.end(_session_id(who), RevokeReason.ADMIN)
        else:
            user = await _user(deployment, who)
            ended = await store.end_user(user.user_id, RevokeReason.ADMIN)
        return _announce(deployment, ended)


async def _end_all(settings: Settings) -> int:
    async with open_deployment(settings) as deployment:
        count = 0
        after = ""
        while page := await deployment.stores.users.list_users(limit=_PAGE, after=after):
            for user in page:
                ended = await deployment.stores.sessions.end_user(user.user_id, RevokeReason.ADMIN)
                count += _announce(deployment, ended)
            after = page[-1].username_key
        return count


async def _all_live(deployment: Deployment) -> list[Session]:
    found: list[Session] = []
    while page := await deployment.stores.sessions.list_live(limit=_PAGE, after=found[-1].sid if found else ""):
        found.extend(page)
    return found


async def _user(deployment: Deployment, who: str) -> User:
    users = deployment.stores.users
    user = await users.by_id(_session_id(who))
    if user is None:
        try:
            user = await users.by_username_key(fold_username(who))
        except InvalidRequest:
            user = None
    if user is None:
        raise NotFound(f"no session, user name or user id {output.cell(who)}")
    return user


def _session_id(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        return text


def _announce(deployment: Deployment, ended: Ended) -> int:
    deployment.announce(ended)
    return len(ended.sessions)


def _count(count: int) -> str:
    return f"{count} session{'' if count == 1 else 's'}"


def _document(session: Session, names: dict[str, str]) -> dict[str, object]:
    return {
        "id": session.sid,
        "user_id": session.user_id,
        "username": names.get(session.user_id),
        "created_at": session.created_at,
        "last_used_at": session.last_seen_at,
        "expires_at": session.ends_at,
        "ip": session.seen.address,
        "device": session.seen.device,
        "generation": session.generation,
    }
