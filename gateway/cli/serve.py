"""`gateway serve`."""

from __future__ import annotations

from pathlib import Path

import click

from gateway.cli.context import config_option, load_settings


@click.command()
@config_option
@click.option(
    "--listen", metavar="ADDRESS", help="Public listener (host:port or unix:/path), instead of server.listen."
)
def serve(config_path: Path | None, listen: str | None) -> None:
    """Run the gateway until it is told to stop (SIGTERM, Ctrl-C)."""
    loaded = load_settings(config_path, {"server.listen": listen} if listen else None, listens=True)

    from gateway.runtime.server import run

    run(loaded.settings)
