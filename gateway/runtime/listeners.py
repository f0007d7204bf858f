"""Sockets the gateway listens on, bound before anything else so that a taken port is one clear line."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from gateway.errors import CannotStart
from gateway.settings.server import ServerSettings
from gateway.settings.types import split_listen, unix_path

_BACKLOG = 2048


def bind(address: str, mode: int = 0o660) -> socket.socket:
    """A listening socket on `host:port`, or on `unix:/path` with permissions `mode`.

    `CannotStart` says why there is none.
    """
    path = unix_path(address)
    if path is not None:
        return _bind_unix(Path(path), mode)
    host, port = split_listen(address)
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise CannotStart(f"cannot listen on {address}: {error.strerror or error}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and not host:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(where)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise CannotStart(f"cannot listen on {address}: {_why(error)}") from error
    return listener


def _bind_unix(path: Path, mode: int) -> socket.socket:
    address = f"unix:{path}"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        listener.bind(str(path))
        path.chmod(mode)  # nobody can connect before it listens
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except CannotStart:
        listener.close()
        raise
    except OSError as error:
        listener.close()
        raise CannotStart(f"cannot listen on {address}: {os.strerror(error.errno or errno.EIO)}") from error
    return listener


def _remove_stale(path: Path) -> None:
    """Remove the socket of a process that is gone. What is no socket, or answers, stays."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise CannotStart(f"cannot listen on unix:{path}: there is a file that is no socket")
    taken = CannotStart(f"cannot listen on unix:{path}: another process listens on it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError as full:  # a full backlog is somebody too
            raise taken from full
    raise taken


class Listeners:
    """Every socket the gateway listens on. Whoever has them by inheritance accepts from the same queues.

    Who bound them removes the files of unix sockets; who adopted them leaves those alone.
    """

    def __init__(self, public: socket.socket, admin: socket.socket | None) -> None:
        self.public = public
        self.admin = admin
        self._files: list[tuple[Path, os.stat_result]] = []

    @classmethod
    def bind(cls, server: ServerSettings) -> Listeners:
        """Bind all of them, or none."""
        mode = int(server.socket_mode, 8)
        made = cls(bind(server.listen, mode), None)
        try:
            made._remember(server.listen)
            if server.admin_listen is not None:
                made.admin = bind(server.admin_listen, mode)
                made._remember(server.admin_listen)
        except BaseException:
            made.close()
            raise
        return made

    @classmethod
    def adopt(cls, descriptors: Sequence[int | None]) -> Listeners:
        """Those that another process has bound, from its `descriptors`."""
        public, admin = (socket.socket(fileno=number) if number is not None else None for number in descriptors)
        if public is None:
            raise ValueError("there is no public listener")
        for listener in (public, admin):
            if listener is not None:
                listener.setblocking(False)
        return cls(public, admin)

    @property
    def descriptors(self) -> tuple[int, int | None]:
        """What `adopt` takes."""
        return self.public.fileno(), self.admin.fileno() if self.admin is not None else None

    def close(self) -> None:
        """Stop listening, as far as this process goes. The file of a unix socket that this one made goes too, unless
        somebody has put another there since.
        """
        self.public.close()
        if self.admin is not None:
            self.admin.close()
        files, self._files = self._files, []
        for path, made in files:
            with suppress(OSError):
                if os.path.samestat(path.lstat(), made):
                    path.unlink()

    def _remember(self, address: str) -> None:
        name = unix_path(address)
        if name is not None:
            self._files.append((Path(name), Path(name).lstat()))


def allow_many_connections() -> None:
    """Raise the soft limit on open files to the hard one: distributions set it low for programs that use select()."""
    try:
        import resource
    except ImportError:  # not on this platform
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):  # macOS says unlimited and means less
        return


def _why(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "the port is in use by another process"
    if error.errno == errno.EACCES:
        return "permission denied (ports below 1024 need a privilege)"
    return os.strerror(error.errno) if error.errno else str(error)
