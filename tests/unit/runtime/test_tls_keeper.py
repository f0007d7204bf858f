"""Files of a TLS listener: what can be used, and what is said about the rest."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from support.listening import certificate
from support.proxying import Notes

from gateway.errors import CannotStart
from gateway.runtime.tls import TlsKeeper
from gateway.settings.certificates import TlsProblem, expiry, server_context


def problem(files: object) -> str:
    with pytest.raises(TlsProblem) as caught:
        server_context(files)  # type: ignore[arg-type]
    return str(caught.value)


def test_each_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    files = certificate(tmp_path)
    (tmp_path / "other").mkdir()
    other = certificate(tmp_path / "other")
    rubbish = tmp_path / "rubbish.pem"
    rubbish.write_bytes(b"\xffrubbish")
    missing = tmp_path / "missing.pem"
    assert problem(replace(files, certificate=missing)) == f"cannot read {missing}: No such file or directory"
    assert problem(replace(files, key=tmp_path)) == f"cannot read {tmp_path}: Is a directory"
    assert "does not belong to the certificate" in problem(replace(files, key=other.key))
    assert problem(replace(files, certificate=rubbish)) == f"{rubbish} holds no certificate"
    assert problem(replace(files, key=rubbish)).startswith(f"{rubbish} holds no private key")
    assert problem(replace(files, client_ca=rubbish)) == f"{rubbish} holds no certificates"
    assert problem(replace(files, password=rubbish)) == f"cannot read {rubbish} as text"


def test_an_encrypted_key_takes_its_password_from_a_file_and_never_asks(tmp_path: Path) -> None:
    files = certificate(tmp_path, password="open sesame")
    password = tmp_path / "password"
    password.write_text("open sesame\n")
    assert server_context(replace(files, password=password)).get_ca_certs() == []
    assert "holds no private key" in problem(files)
    password.write_text("open barley\n")
    told = problem(replace(files, password=password))
    assert "holds no private key" in told
    assert "barley" not in told


def test_without_a_certificate_nothing_starts(tmp_path: Path) -> None:
    files = certificate(tmp_path)
    files.key.unlink()
    with pytest.raises(CannotStart, match="cannot read"):
        TlsKeeper(files, Notes())


def test_a_bad_pair_is_told_once_and_a_good_one_comes_into_force_later(tmp_path: Path) -> None:
    files, notes = certificate(tmp_path), Notes()
    keeper = TlsKeeper(files, notes)
    first = keeper.context
    good = files.key.read_bytes()
    for _ in range(3):
        keeper.poll()
    assert notes.events == []
    files.key.write_bytes(b"half")
    for _ in range(4):
        keeper.poll()
    assert [event.name for event in notes.events] == ["tls.reload_failed"]
    assert keeper.context is first
    files.key.unlink()
    for _ in range(3):
        keeper.poll()
    files.key.write_bytes(good)
    os.utime(files.key, ns=(1, 1))
    for _ in range(3):
        keeper.poll()
    assert [event.name for event in notes.events] == ["tls.reload_failed"] * 2 + ["tls.reloaded"]
    assert str(notes.events[-1].fields["not_after"]).endswith("Z")
    assert keeper.context is not first


def test_the_end_of_the_certificate_in_force_is_known(tmp_path: Path) -> None:
    files = certificate(tmp_path)
    keeper = TlsKeeper(files, Notes())
    assert keeper.not_after == expiry(files.certificate).timestamp()


def test_a_renewal_in_two_steps_is_one_reload(tmp_path: Path) -> None:
    files, notes = certificate(tmp_path), Notes()
    keeper = TlsKeeper(files, notes)
    old = files.key.read_bytes()
    certificate(tmp_path)
    new = files.key.read_bytes()
    files.key.write_bytes(old)  # the certificate is there, its key is not yet
    keeper.poll()
    files.key.write_bytes(new)
    os.utime(files.key, ns=(2, 2))
    keeper.poll()
    keeper.poll()
    assert [event.name for event in notes.events] == ["tls.reloaded"]
