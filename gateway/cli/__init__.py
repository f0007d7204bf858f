"""The command line: one file per command group, imported when it is used."""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import Any

import click

from gateway.errors import GatewayError

EXIT_FAILURE, EXIT_USAGE, EXIT_CANNOT_START, EXIT_BAD_CONFIG = 1, 2, 3, 78

_COMMANDS = {
    "demo": "A gateway with a sample backend and a user, to try at once.",
    "serve": "Run the gateway.",
    "config": "Check, show and describe the configuration.",
    "users": "Add, change, remove and import users.",
    "sessions": "List and end sessions.",
    "keys": "List and rotate signing keys.",
    "events": "Recent security events.",
    "doctor": "Check a deployment, one line each.",
}


class _Commands(click.Group):
    """Finds `gateway NAME` as `NAME` in gateway/cli/NAME.py; what is raised becomes one line and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, in the order a newcomer needs them."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, its module imported only now."""
        if cmd_name not in _COMMANDS:
            return None
        found: click.Command = getattr(importlib.import_module(f"gateway.cli.{cmd_name}"), cmd_name)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in `--help`, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a `GatewayError` ends the process without a traceback."""
        try:
            return super().invoke(ctx)
        except GatewayError as error:
            raise Failure(error) from error


class Failure(click.ClickException):
    """A `GatewayError` on its way out: what stderr shows and the exit code."""

    def __init__(self, error: GatewayError) -> None:
        super().__init__(_sentence(error))
        self.error = error
        codes = {"cannot_start": EXIT_CANNOT_START, "bad_configuration": EXIT_BAD_CONFIG}
        self.exit_code = codes.get(error.code, EXIT_FAILURE)  # type: ignore[misc]

    def show(self, file: Any = None) -> None:
        """One clear line; for a bad configuration one line per problem."""
        problems = getattr(self.error, "problems", None)
        lines = [str(problem) for problem in problems] if problems else [f"gateway: {self.message}"]
        for line in lines:
            click.echo(line, err=True, file=file)
        if problems:
            count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
            click.echo(f"gateway: {count} in the configuration", err=True, file=file)


def _sentence(error: GatewayError) -> str:
    text = error.detail or error.title
    if error.debug and error.debug != error.detail:
        text += f": {error.debug}"
    return " ".join(text.split())


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("auth-gateway"), prog_name="gateway", message="%(prog)s %(version)s")
def cli() -> None:
    """An auth gateway for backends that already exist.

    Start with `gateway demo`. Exit codes: 0 done, 1 failure, 2 usage, 3 cannot start, 78 bad configuration.
    """


def main() -> None:
    """The `gateway` command."""
    cli(prog_name="gateway")
