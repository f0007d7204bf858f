"""Configuration from its layers: defaults < YAML < environment < flags. Every problem is reported, all at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gateway.errors import CannotStart
from gateway.settings import checks, layers, yaml_tree
from gateway.settings.explain import explain_all, section_of
from gateway.settings.model import Settings
from gateway.settings.problems import ConfigError, Finding, Location, Problem, dotted
from gateway.settings.types import split_listen
from gateway.settings.yaml_tree import Mark, Tree

__all__ = ["ConfigError", "Loaded", "Problem", "load"]

FLAGS = "command line"
_MAX_FILE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration in force. `origins` says where each value that is not a default came from."""

    settings: Settings
    source: Path | None
    warnings: tuple[Problem, ...] = ()
    origins: Mapping[Location, str] = field(default_factory=dict)


def load(
    path: Path | None,
    env: Mapping[str, str],
    overrides: Mapping[str, object] | None = None,
    *,
    listener_files: bool = True,
) -> Loaded:
    """Read, merge, validate and check; with `listener_files` what a listener reads too: its certificate and key.

    `overrides` maps dotted keys (`server.listen`) to values as YAML would hold them. Raises `ConfigError` with every
    problem, and `CannotStart` when the file is missing or unreadable.
    """
    draft = _Draft(path)
    draft.read_file()
    draft.add_environment(env)
    draft.add_overrides(overrides or {})
    draft.derive()
    return draft.finish(listener_files=listener_files)


class _Draft:
    """The layers on their way to Settings: data, where it came from, and what is wrong so far."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._tree = Tree()
        self._data: dict[str, Any] = {}
        self._origins: dict[Location, str] = {}
        self._problems: list[Problem] = []
        self._tainted: set[Location] = set()
        self._unread: dict[Location, tuple[Finding, str]] = {}
        self._route_index: list[int] = []

    def read_file(self) -> None:
        if self._path is None:
            return
        text = self._text(self._path)
        if text is None:
            return
        self._tree = yaml_tree.parse(text)
        for finding, mark in self._tree.findings:
            self._problem(finding, mark)
        data = self._tree.data
        if data is None:
            return
        if not isinstance(data, dict):
            self._problem(Finding((), "the file must be a mapping of sections, such as routes:"), Mark(1, 1))
            return
        values = {key: value for key, value in data.items() if value is not None or not _is_section(key)}
        self._add(str(self._path), dict(layers.leaves((), values)))

    def add_environment(self, env: Mapping[str, str]) -> None:
        for entry in layers.environment(env):
            name = entry[0]
            if len(entry) == 2:
                self._problem(entry[1], source=name)
            else:
                self._add(name, dict(layers.leaves(entry[1], entry[2])))

    def add_overrides(self, overrides: Mapping[str, object]) -> None:
        flat: dict[Location, object] = {}
        for key, value in overrides.items():
            flat.update(layers.leaves(tuple(key.split(".")), value))
        self._add(FLAGS, flat)

    def derive(self) -> None:
        """The public URL follows the listener until somebody sets it."""
        server = self._data.get("server")
        listen = server.get("listen") if isinstance(server, dict) else None
        if not isinstance(listen, str) or ("server", "public_url") in self._origins:
            return
        try:
            host, port = split_listen(listen)
        except ValueError:
            return
        if port and isinstance(server, dict):
            scheme = "http" if server.get("tls") is None else "https"
            host = "127.0.0.1" if host in {"", "0.0.0.0", "::"} else host
            url = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
            self._add("server.listen", {("server", "public_url"): url})

    def finish(self, *, listener_files: bool) -> Loaded:
        for finding, source in self._unread.values():
            self._tainted.add(finding.location)
            self._problem(finding, source=source)
        settings = self._validate()
        warnings: list[Problem] = []
        if settings is not None:
            report = checks.run(settings, self._route_index, listener_files=listener_files)
            for about, finding in report.errors:
                if not any(self._is_tainted(location) for location in (finding.location, *about)):
                    self._problem(finding)
            warnings = [self._placed(finding) for finding in report.warnings]
        if self._problems or settings is None:
            raise ConfigError(sorted(self._problems, key=_order))
        return Loaded(settings, self._path, tuple(sorted(warnings, key=_order)), self._origins)

    def _validate(self) -> Settings | None:
        """Settings of everything that is right; what is wrong is noted and left out, so that the checks can run."""
        routes = self._data.get("routes")
        self._route_index = list(range(len(routes))) if isinstance(routes, list) else []
        for attempt in range(8):
            try:
                return Settings.model_validate(self._data)
            except ValidationError as error:
                errors = error.errors(include_url=False)
                if attempt == 0:
                    for finding in explain_all(errors):
                        self._tainted.add(finding.location)
                        self._problem(finding)
                places = {_location(detail["loc"]): detail["type"] == "missing" for detail in errors}
                for place in sorted(places, key=_descending, reverse=True):
                    self._mend(place, fill=places[place])
        return None

    def _mend(self, location: Location, *, fill: bool) -> None:
        """Leave out what is wrong, and give what is then missing a value that passes, so that the checks can run."""
        holders: list[Any] = [self._data]
        for part in location[:-1]:
            inner = _child(holders[-1], part)
            if not isinstance(inner, (dict, list)):
                break
            holders.append(inner)
        while len(holders) > 1 and isinstance(holders[-1], list) and holders[-1] is not self._data.get("routes"):
            holders.pop()
        holder, key = holders[-1], location[len(holders) - 1]
        if isinstance(holder, list) and isinstance(key, int):
            del holder[key]
            del self._route_index[key]
        elif isinstance(holder, dict) and fill:
            holder[key] = _stand_in(str(key), number=len(self._tainted))
        elif isinstance(holder, dict):
            holder.pop(key, None)

    def _add(self, source: str, layer: dict[Location, object]) -> None:
        for location in layer:  # a file that another layer's value stands for need not be there
            self._unread.pop(location, None)
            self._unread.pop((*location[:-1], f"{location[-1]}_file") if location else location, None)
        for found in list(layers.secret_files(layer)):
            if isinstance(found, Finding):
                self._unread[found.location] = found, source
            else:
                layer[found[0]] = found[1]
        for location, value in layer.items():
            layers.assign(self._data, location, value)
            self._origins[location] = source

    def _problem(self, finding: Finding, mark: Mark | None = None, source: str | None = None) -> None:
        placed = self._placed(finding, mark, source)
        if placed not in self._problems:
            self._problems.append(placed)

    def _placed(self, finding: Finding, mark: Mark | None = None, source: str | None = None) -> Problem:
        origin = source or self._origin(finding.location)
        if origin == "server.listen":
            origin = self._origin(("server", "listen"))
        from_file = self._path is not None and origin in {None, str(self._path)}
        if from_file:
            origin, mark = str(self._path), mark or self._tree.mark(finding.location)
        return Problem(
            path=dotted(self._written(finding.location) if from_file else finding.location),
            line=mark.line if mark else None,
            column=mark.column if mark else None,
            message=finding.message,
            hint=finding.hint,
            source=origin,
        )

    def _origin(self, location: Location) -> str | None:
        while location:
            if location in self._origins:
                return self._origins[location]
            location = location[:-1]
        return None

    def _written(self, location: Location) -> Location:
        """`location` as far as it is written out: a single URL is not `upstream[0].url` to whoever wrote it."""
        data: object = self._tree.data
        for depth, part in enumerate(location):
            if isinstance(data, str):
                return location[:depth]
            data = _child(data, part)
        return location

    def _is_tainted(self, location: Location) -> bool:
        return any(location[: len(bad)] == bad or bad[: len(location)] == location for bad in self._tainted)

    def _text(self, path: Path) -> str | None:
        try:
            raw = path.read_bytes()
        except FileNotFoundError as error:
            raise CannotStart(f"the configuration file {path} does not exist") from error
        except OSError as error:
            raise CannotStart(f"cannot read the configuration file {path}: {error.strerror or error}") from error
        if len(raw) > _MAX_FILE:
            self._problem(Finding((), f"the file is larger than {_MAX_FILE} bytes"))
            return None
        try:
            return raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            self._problem(Finding((), "the file is not UTF-8 text"), Mark(line, 1))
            return None


def _is_section(key: str) -> bool:
    info = Settings.model_fields.get(key)
    return info is not None and section_of(info.annotation) is not None


def _child(data: object, part: str | int) -> object:
    if isinstance(data, dict):
        return data.get(part)
    if isinstance(data, list) and isinstance(part, int) and part < len(data):
        return data[part]
    return None


def _location(parts: tuple[str | int, ...]) -> Location:
    return tuple(part for part in parts if part != "[key]")


def _stand_in(key: str, number: int) -> object:
    """A value for a required key, unlike any other; nothing is ever reported about it."""
    path = f"/stand-in-{number}"
    values = {
        "name": f"stand-in-{number}",
        "match": {"path": path},
        "path": path,
        "attempts": 1,
        "requests": 1,
        "per": "1m",
    }
    return values.get(key, "http://stand-in.invalid")


def _descending(location: Location) -> tuple[tuple[int, int, str], ...]:
    return tuple((0, part, "") if isinstance(part, int) else (1, 0, part) for part in location)


def _order(problem: Problem) -> tuple[bool, int, int, str]:
    return (problem.line is None, problem.line or 0, problem.column or 0, problem.path)
