"""Sockets the gateway listens on, bound before anything else so that a taken port is one clear line."""

from __future__ import annotations

import errno
import os
import socket

from gateway.errors import CannotStart
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


def _why(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "the port is in use by another process"
    if error.errno == errno.EACCES:
        return "permission denied (ports below 1024 need a privilege)"
    return os.strerror(error.errno) if error.errno else str(error)
