"""Sockets to listen on: unix ones above all."""

from __future__ import annotations

import os
import resource
import socket
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from gateway.errors import CannotStart
from gateway.runtime.listeners import Listeners, allow_many_connections, bind
from gateway.settings.server import ServerSettings


@contextmanager
def listening(path: Path, mode: str = "0660") -> Iterator[Listeners]:
    """As a process binds its sockets, and closes them."""
    settings = ServerSettings(listen=f"unix:{path}", admin_listen=None, socket_mode=mode)
    with closing(Listeners.bind(settings)) as listeners:
        yield listeners


def test_a_unix_socket_has_its_mode_and_goes_with_the_process(tmp_path: Path) -> None:
    path = tmp_path / "public.sock"
    with listening(path, "0600") as listeners:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
        assert listeners.public.getsockname() == str(path)
    assert not path.exists()


def test_the_socket_of_a_process_that_died_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "public.sock"
    bind(f"unix:{path}").close()
    assert path.exists()
    with listening(path):
        assert path.is_socket()


def test_a_socket_somebody_listens_on_stays(tmp_path: Path) -> None:
    path = tmp_path / "public.sock"
    with listening(path):
        with pytest.raises(CannotStart, match="another process listens"):
            bind(f"unix:{path}")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


def test_what_is_no_socket_is_never_removed(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    link = tmp_path / "link"
    link.symlink_to(path)
    for name in (path, link):
        with pytest.raises(CannotStart, match="no socket"):
            bind(f"unix:{name}")
    assert path.read_text() == "data"
    with pytest.raises(CannotStart, match="No such file"):
        bind(f"unix:{tmp_path}/missing/public.sock")


def test_a_socket_another_process_has_put_there_since_stays(tmp_path: Path) -> None:
    path = tmp_path / "public.sock"
    with listening(path):
        path.unlink()
        other = bind(f"unix:{path}")
    assert path.is_socket()
    other.close()


def test_who_adopted_a_socket_leaves_its_file_alone_and_closing_twice_removes_it_once(tmp_path: Path) -> None:
    path = tmp_path / "public.sock"
    with listening(path) as listeners:
        Listeners.adopt([os.dup(listeners.public.fileno()), None]).close()
        assert path.is_socket()
        listeners.close()
        assert not path.exists()
        other = bind(f"unix:{path}")
    assert path.is_socket()
    other.close()


def test_all_sockets_or_none(tmp_path: Path) -> None:
    public, admin = tmp_path / "public.sock", tmp_path / "admin.sock"
    admin.write_text("no socket")
    with pytest.raises(CannotStart, match="no socket"):
        Listeners.bind(ServerSettings(listen=f"unix:{public}", admin_listen=f"unix:{admin}"))
    assert not public.exists()


def test_as_many_descriptors_as_the_system_allows() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
        allow_many_connections()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
