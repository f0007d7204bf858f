"""`gateway users`: who can log in."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from gateway.cli.context import config_option, load_settings, open_deployment, run_async
from gateway.cli.output import json_option, print_json, print_table, timestamp
from gateway.cli.users_import import import_users
from gateway.credentials.passwords import MAX_LOGIN_BYTES
from gateway.credentials.user import User
from gateway.errors import InvalidRequest
from gateway.events import Event, Name
from gateway.sessions.ports import Ended
from gateway.settings.model import Settings

password_option = click.option(
    "--password-stdin", is_flag=True, help="Read the password from standard input, one line, instead of asking for it."
)
role_option = click.option("--role", "roles", multiple=True, metavar="ROLE", help="May be given several times.")


@click.group()
def users() -> None:
    """Add, list, change, remove and import users."""


users.add_command(import_users)


@users.command()
@click.argument("name")
@role_option
@click.option("--email", metavar="ADDRESS")
@password_option
@json_option
@config_option
def add(
    name: str, roles: tuple[str, ...], email: str | None, password_stdin: bool, as_json: bool, config_path: Path | None
) -> None:
    """Add a user. The password is asked for twice, or read with --password-stdin."""
    settings = load_settings(config_path).settings
    user = run_async(_add(settings, name, _password(from_stdin=password_stdin), email, roles))
    if as_json:
        print_json(_described(user))
    else:
        click.echo(f"Added {user.username} ({user.user_id}).")


@users.command("list")
@json_option
@config_option
def list_users(as_json: bool, config_path: Path | None) -> None:
    """Every user, by name."""
    found = run_async(_list(load_settings(config_path).settings))
    if as_json:
        print_json({"users": [_described(user) for user in found]})
    else:
        titles = ("name", "e-mail", "roles", "state", "created", "id")
        print_table(titles, map(_cells, found), empty="no users yet: gateway users add NAME")


@users.command("set-password")
@click.argument("name")
@password_option
@config_option
def set_password(name: str, password_stdin: bool, config_path: Path | None) -> None:
    """Set a user's password and end all of the user's sessions."""
    settings = load_settings(config_path).settings
    user = run_async(_find(settings, name))
    ended = run_async(_set_password(settings, user, _password(from_stdin=password_stdin)))
    click.echo(f"Password of {user.username} set{_ended(ended)}.")


@users.command("set-roles")
@click.argument("name")
@role_option
@config_option
def set_roles(name: str, roles: tuple[str, ...], config_path: Path | None) -> None:
    """Replace a user's roles by those given. Access tokens with the old ones die; sessions stay."""
    user = run_async(_set_roles(load_settings(config_path).settings, name, roles))
    click.echo(f"Roles of {user.username}: {', '.join(roles) or 'none'}.")


@users.command()
@click.argument("name")
@config_option
def disable(name: str, config_path: Path | None) -> None:
    """Refuse a user's log-ins and end all of the user's sessions."""
    user, ended = run_async(_disable(load_settings(config_path).settings, name))
    click.echo(f"Disabled {user.username}{_ended(ended)}.")


@users.command()
@click.argument("name")
@config_option
def enable(name: str, config_path: Path | None) -> None:
    """Let a disabled user log in again. Ended sessions stay ended."""
    user = run_async(_enable(load_settings(config_path).settings, name))
    click.echo(f"Enabled {user.username}.")


@users.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@config_option
def remove(name: str, yes: bool, config_path: Path | None) -> None:
    """Delete a user and end all of the user's sessions."""
    settings = load_settings(config_path).settings
    user = run_async(_find(settings, name))
    if not yes:
        click.confirm(f"Remove {user.username} ({user.user_id}) for good?", abort=True, err=True)
    ended = run_async(_remove(settings, user))
    click.echo(f"Removed {user.username}{_ended(ended)}.")


def _password(*, from_stdin: bool) -> str:
    """The password, never from the command line: that is in the shell's history and in every process list."""
    if from_stdin:
        return _password_from_stdin()
    if not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask for the password on: use --password-stdin")
    asked: str = click.prompt("Password", hide_input=True, confirmation_prompt="Again", err=True)
    return asked


def _password_from_stdin() -> str:
    data = sys.stdin.buffer.read(MAX_LOGIN_BYTES + 3)
    try:
        line = data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise InvalidRequest("password: standard input is not UTF-8") from None
    if "\n" in line or "\r" in line:
        raise InvalidRequest("password: standard input has more than one line")
    return line


async def _add(settings: Settings, name: str, password: str, email: str | None, roles: tuple[str, ...]) -> User:
    async with open_deployment(settings) as deployment:
        return await deployment.users.add(name, password, email=email, roles=roles)


async def _list(settings: Settings) -> list[User]:
    async with open_deployment(settings) as deployment:
        return [user async for user in deployment.users.list_users()]


async def _find(settings: Settings, name: str) -> User:
    async with open_deployment(settings) as deployment:
        return await deployment.users.find(name)


async def _set_password(settings: Settings, user: User, password: str) -> Ended:
    async with open_deployment(settings) as deployment:
        ended = await deployment.users.set_password(user.user_id, password)
        deployment.events.emit(Event(Name.PASSWORD_CHANGED, user_id=user.user_id))
        deployment.announce(ended)
        return ended


async def _set_roles(settings: Settings, name: str, roles: tuple[str, ...]) -> User:
    async with open_deployment(settings) as deployment:
        user = await deployment.users.find(name)
        deployment.announce(await deployment.users.set_roles(user.user_id, roles))
        return user


async def _disable(settings: Settings, name: str) -> tuple[User, Ended]:
    async with open_deployment(settings) as deployment:
        user = await deployment.users.find(name)
        ended = await deployment.users.disable(user.user_id)
        deployment.announce(ended)
        return user, ended


async def _enable(settings: Settings, name: str) -> User:
    async with open_deployment(settings) as deployment:
        user = await deployment.users.find(name)
        await deployment.users.enable(user.user_id)
        return user


async def _remove(settings: Settings, user: User) -> Ended:
    async with open_deployment(settings) as deployment:
        ended = await deployment.users.remove(user.user_id)
        deployment.announce(ended)
        return ended


def _described(user: User) -> dict[str, object]:
    return {
        "id": user.user_id,
        "username": user.username,
        "email": user.email,
        "roles": user.roles,
        "active": user.active,
        "has_password": user.password_hash is not None,
        "created_at": timestamp(user.created_at),
        "password_changed_at": timestamp(user.password_changed_at),
    }


def _cells(user: User) -> tuple[str | None, ...]:
    state = "active" if user.active else "disabled"
    if user.password_hash is None:
        state += ", no password"
    return user.username, user.email, ", ".join(user.roles), state, timestamp(user.created_at), user.user_id


def _ended(ended: Ended) -> str:
    count = len(ended.sessions)
    return f", {count} session{'s' if count != 1 else ''} ended" if count else ""
