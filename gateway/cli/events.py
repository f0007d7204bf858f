"""`gateway events`: what the store remembers of log-ins, refreshes and thefts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import orjson

from gateway.cli import output
from gateway.cli.context import Deployment, config_option, load_settings, open_deployment, run_async
from gateway.cli.report import Suspect, rank
from gateway.credentials.names import fold_username
from gateway.errors import InvalidRequest, NotFound
from gateway.events import Name
from gateway.settings.model import Settings
from gateway.settings.units import parse_duration
from gateway.telemetry.ports import StoredEvent

_PAGE = 1000
_POLL = 0.5
_NAMES = [name.value for name in Name]


class _Duration(click.ParamType[float]):
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.group()
def events() -> None:
    """Recent security events."""


@events.command()
@config_option
@click.option("--follow", "-f", is_flag=True, help="Go on printing what comes.")
@click.option("--lines", "-n", default=20, show_default=True, type=click.IntRange(0, 100_000), help="How many to show.")
@click.option("--event", "names", multiple=True, type=click.Choice(_NAMES), metavar="NAME", help="Only this event.")
@click.option("--user", "user", metavar="NAME", help="Only events of this user, by name or id.")
@click.option("--json", "as_json", is_flag=True, help="Print the log lines as they are.")
def tail(
    config_path: Path | None, follow: bool, lines: int, names: tuple[str, ...], user: str | None, as_json: bool
) -> None:
    """The latest events, oldest first. Routine refreshes are in the log only."""
    settings = load_settings(config_path).settings
    try:
        run_async(_tail(settings, follow=follow, lines=lines, names=names, user=user, as_json=as_json))
    except KeyboardInterrupt:
        click.echo(err=True)


@events.command()
@config_option
@click.option("--since", default="30d", show_default=True, type=_Duration(), help="How far to look back.")
@click.option("--top", default=20, show_default=True, type=click.IntRange(1), help="How many to show.")
@output.json_option
def report(config_path: Path | None, since: float, top: int, as_json: bool) -> None:
    """Who refreshes suspiciously: sessions ranked by what was seen, with the reasons."""
    suspects = run_async(_report(load_settings(config_path).settings, since))[:top]
    if as_json:
        output.print_json([suspect.document() for suspect in suspects], indent=True)
        return
    rows = [
        (
            suspect.score,
            suspect.username or suspect.user_id or "-",
            suspect.session_id,
            output.timestamp(suspect.last_at),
            suspect.reasons_text(),
            suspect.addresses_text(),
        )
        for suspect in suspects
    ]
    headings = ("score", "user", "session", "last seen", "reasons", "addresses")
    output.print_table(headings, rows, empty="no suspicious refresh")


async def _tail(
    settings: Settings, *, follow: bool, lines: int, names: tuple[str, ...], user: str | None, as_json: bool
) -> None:
    async with open_deployment(settings) as deployment:
        store = deployment.stores.events
        user_id = await _user_id(deployment, user) if user is not None else None
        newest = await store.read_events(limit=1, newest=True)
        after = newest[-1].seq if newest else 0
        if lines:
            _print(await store.read_events(names=names, user_id=user_id, limit=lines, newest=True), as_json)
        while follow:
            found = await store.read_events(after=after, names=names, user_id=user_id, limit=_PAGE)
            _print([event for event in found if event.seq > after], as_json)
            after = found[-1].seq if found else after
            if len(found) < _PAGE:
                await asyncio.sleep(_POLL)


async def _report(settings: Settings, since: float) -> list[Suspect]:
    async with open_deployment(settings) as deployment:
        start = deployment.clock.now() - since
        found: list[StoredEvent] = []
        while page := await deployment.stores.events.read_events(
            after=found[-1].seq if found else 0, since=start, names=Suspect.EVENTS, limit=_PAGE
        ):
            found.extend(page)
        suspects = rank(found)
        for suspect in suspects:
            user = await deployment.stores.users.by_id(suspect.user_id) if suspect.user_id else None
            suspect.username = user.username if user is not None else None
        return suspects


async def _user_id(deployment: Deployment, who: str) -> str:
    try:
        user = await deployment.stores.users.by_username_key(fold_username(who))
    except InvalidRequest:
        user = None
    user = user or await deployment.stores.users.by_id(who)
    if user is None:
        raise NotFound(f"no user {output.cell(who)}")
    return user.user_id


def _print(found: Iterable[StoredEvent], as_json: bool) -> None:
    from gateway.telemetry.lines import console_renderer

    render = console_renderer(colors=output.on_terminal())
    for event in found:
        if as_json:
            click.echo(event.document.decode())
        else:
            click.echo(render(orjson.loads(event.document)).decode(), nl=False)
