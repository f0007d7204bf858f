"""Watches everything the suite makes the gateway write, and names each secret it finds there.

Tests hand out passwords, tokens and keys; none of them may come back in a log line, an event, an error, a header or a
command's output. `tests/conftest.py` installs the taps for the whole run and fails the test whose output leaks.
"""

from __future__ import annotations

import base64
import functools
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import click.testing
import pytest

from gateway.clock import SystemClock
from gateway.credentials.hasher import PasswordHasher
from gateway.errors import GatewayError
from gateway.events import Event
from gateway.telemetry.events import EventLog
from gateway.telemetry.writer import LineWriter

SHAPES = {
    "a refresh token": re.compile(r"gwr_[A-Za-z0-9_-]{16,}"),
    "a JWT": re.compile(r"eyJ[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{4,}"),
    "a password hash": re.compile(r"\$argon2(?:id|i|d)\$v=\d+\$[^\s\"']*\$|\$2[aby]\$\d\d\$[./A-Za-z0-9]{22,}"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY"),
}
"""What gives a secret away whoever handed it out."""

SHORTEST = 8
"""A shorter secret would be found by chance."""


class Watch:
    """What is secret, and where it was seen nevertheless."""

    def __init__(self) -> None:
        self._secrets: dict[str, str] = {}
        self.leaks: list[str] = []
        self.texts = 0

    def secret(self, text: str | bytes, what: str) -> None:
        """`text` must not appear in any output from now on, plain, percent-encoded or in base64."""
        plain = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        if len(plain) < SHORTEST or len(set(plain)) < SHORTEST // 2:
            return
        raw = plain.encode("utf-8", "surrogatepass")
        for form in (
            plain,
            quote(raw, safe=""),
            base64.b64encode(raw).decode(),
            base64.urlsafe_b64encode(raw).decode(),
        ):
            self._secrets.setdefault(form.rstrip("="), what)

    def output(self, text: str | bytes, where: str) -> None:
        """Something was written: look for secrets in it."""
        self.texts += 1
        plain = text.decode("utf-8", "backslashreplace") if isinstance(text, bytes) else text
        for what, position in self._found(plain):
            start = plain.rfind("\n", 0, position) + 1
            self.leaks.append(f"{what} in {where}: {plain[max(start, position - 120) : position + 24]}…")

    def answer(self, status: int, headers: Iterable[tuple[str, str]], body: bytes, where: str) -> None:
        """An answer of the gateway: a success may carry tokens in body and Set-Cookie, nothing else may."""
        for name, value in headers:
            if not (name.lower() == "set-cookie" and status < 300):
                self.output(f"{name}: {value}", f"a header of {where}")
        if status >= 300:
            self.output(body, f"the body of {where}")

    def _found(self, text: str) -> Iterator[tuple[str, int]]:
        for what, shape in SHAPES.items():
            if match := shape.search(text):
                yield what, match.start()
        for secret, what in self._secrets.items():
            if (position := text.find(secret)) >= 0:
                yield what, position

    def start_test(self) -> None:
        """Forget what the test before handed out."""
        self._secrets.clear()
        self.leaks.clear()


WATCH = Watch()


@contextmanager
def taps(watch: Watch) -> Iterator[None]:
    """Let `watch` see every event, error, log line and command output of this process, and every password hashed."""
    with pytest.MonkeyPatch.context() as patch:
        lines: list[bytes] = []
        log = EventLog(SystemClock(), write=lines.append)

        def event(self: Event, *_: Any, **__: Any) -> None:
            log.emit(self)
            watch.output(b"".join(lines), f"the event {self.name}")
            lines.clear()

        def error(self: GatewayError, *_: Any, **__: Any) -> None:
            watch.output(f"{self.detail} {self.debug}", f"the error {type(self).__name__}")

        def line(_: LineWriter, written: bytes) -> None:
            watch.output(written, "the log")

        _after(patch, Event, "__init__", event)
        _after(patch, GatewayError, "__init__", error)
        _after(patch, LineWriter, "write", line)
        for name in ("hash", "verify"):
            _after(patch, PasswordHasher, name, lambda _, password, *__, **___: watch.secret(password, "a password"))
        _watch_commands(patch, watch)
        yield


def _after(patch: pytest.MonkeyPatch, owner: type, name: str, look: Callable[..., None]) -> None:
    real = getattr(owner, name)

    @functools.wraps(real)
    def tapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = real(self, *args, **kwargs)
        look(self, *args, **kwargs)
        return result

    patch.setattr(owner, name, tapped)


def _watch_commands(patch: pytest.MonkeyPatch, watch: Watch) -> None:
    real = click.testing.CliRunner.invoke

    @functools.wraps(real)
    def invoke(self: Any, cli: Any, args: Any = None, **options: Any) -> click.testing.Result:
        result = real(self, cli, args, **options)
        watch.output(result.output, f"the output of `gateway {' '.join(args or ())}`")
        return result

    patch.setattr(click.testing.CliRunner, "invoke", invoke)
