"""`gateway serve`."""

from __future__ import annotations

from pathlib import Path

import click

from gateway.cli.context import config_option, find_config, load_settings


@click.command()
@config_option
@click.option(
    "--listen", metavar="ADDRESS", help="Public listener (host:port or unix:/path), instead of server.listen."
)
def serve(config_path: Path | None, listen: str | None) -> None:
    """Run the gateway until it is told to stop (SIGTERM, Ctrl-C). SIGHUP: read the configuration again."""
    overrides = {"server.listen": listen} if listen else {}
    loaded = load_settings(config_path, overrides, listens=True)

    from gateway.runtime.reload import Source
    from gateway.runtime.workers import worker_count

    source = Source(find_config(config_path), overrides)
    if worker_count(loaded.settings) > 1:
        from gateway.runtime.supervisor import supervise

        supervise(loaded.settings, source)
    else:
        from gateway.runtime.server import run

        run(loaded.settings, source=source)
