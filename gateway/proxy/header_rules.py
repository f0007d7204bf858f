"""What one route sets and removes among the headers it passes on, compiled at load. Most routes have none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gateway.proxy.identity import fold


class HeaderRules:
    """`set` replaces whatever has that name, `remove` takes it out; names match as backends may fold them."""

    __slots__ = ("_lines", "names")

    def __init__(self, set_: Mapping[str, str], remove: Iterable[str] = ()) -> None:
        self._lines = [f"{name}: {value}".encode() for name, value in set_.items()]
        self.names = frozenset(fold(name.encode("ascii")) for name in (*set_, *remove))

    def apply(self, lines: list[bytes]) -> None:
        """Change the lines of a head in place; the first is the request or status line."""
        lines[1:] = self._kept(lines[1:]) + self._lines

    def changed(self, head: bytes) -> bytes:
        """A head as bytes, each line ended by CRLF, the last too."""
        lines = head.split(b"\r\n")[:-1]
        self.apply(lines)
        return b"\r\n".join([*lines, b""])

    def removed(self, head: bytes, *, first: int = 1) -> bytes:
        """An interim head or trailers (`first=0`: there is no status line): nothing is set there."""
        lines = head.split(b"\r\n")[:-1]
        return b"\r\n".join([*lines[:first], *self._kept(lines[first:]), b""])

    def _kept(self, lines: list[bytes]) -> list[bytes]:
        names = self.names
        return [line for line in lines if fold(line.partition(b":")[0]) not in names]
