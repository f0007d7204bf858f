"""Where checks put what they find."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.settings.problems import Finding, Location


@dataclass(slots=True)
class Report:
    """Errors and warnings of the checks. An error names every value it rests on, so that none is raised about a default
    that only stands in for something already reported."""

    errors: list[tuple[tuple[Location, ...], Finding]] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)

    def error(
        self, location: Location, message: str, hint: str | None = None, *, about: tuple[Location, ...] = ()
    ) -> None:
        """The configuration cannot be used as it is."""
        self.errors.append((about, Finding(location, message, hint)))

    def warn(self, location: Location, message: str, hint: str | None = None) -> None:
        """It can be used, but is probably not what was meant."""
        self.warnings.append(Finding(location, message, hint))

    def later(self, location: Location, what: str, instead: str | None = None) -> None:
        """A value that would have no effect yet."""
        self.error(location, f"{what} is not supported by this version", instead)
