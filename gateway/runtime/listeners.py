"""Sockets the gateway listens on, bound before anything else so that a taken port is one clear line."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.errors import CannotStart
from gateway.settings.model import ServerSettings
from gateway.settings.types import split_listen

_BACKLOG = 2048


def bind(address: str) -> socket.socket:
    """A listening TCP socket on `address`; `CannotStart` says why there is none."""
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


@dataclass(frozen=True, slots=True)
class Listeners:
    """Every socket the gateway listens on. Whoever has them by inheritance accepts from the same queues."""

    public: socket.socket
    admin: socket.socket | None

    @classmethod
    def bind(cls, server: ServerSettings) -> Listeners:
        """Bind all of them, or none."""
        public = bind(server.listen)
        try:
            admin = bind(server.admin_listen) if server.admin_listen is not None else None
        except BaseException:
            public.close()
            raise
        return cls(public, admin)

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
        """Stop listening, as far as this process goes."""
        self.public.close()
        if self.admin is not None:
            self.admin.close()


def _why(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "the port is in use by another process"
    if error.errno == errno.EACCES:
        return "permission denied (ports below 1024 need a privilege)"
    return os.strerror(error.errno) if error.errno else str(error)
