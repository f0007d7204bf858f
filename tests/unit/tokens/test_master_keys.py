"""The master key file and what hangs from it."""

from __future__ import annotations

import base64
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from support.tokens import master_keys

from gateway.errors import CannotStart
from gateway.tokens.errors import SealBroken
from gateway.tokens.master import MasterKeys

KEY = base64.b64encode(bytes(range(32)))
OTHER = base64.b64encode(bytes(range(32, 64)))


def write(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def complaint(path: Path) -> str:
    with pytest.raises(CannotStart) as caught:
        MasterKeys.load(path)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    return text


def test_create_writes_a_private_file_that_loads(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    made = MasterKeys.create(path)
    loaded = MasterKeys.load(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert made.current == loaded.current == 1
    assert made.derive(1, b"i", b"s") == loaded.derive(1, b"i", b"s")
    assert loaded.warnings == ()
    assert [entry.name for entry in tmp_path.iterdir()] == ["master.key"]


def test_create_ignores_a_wide_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        MasterKeys.create(tmp_path / "master.key")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "master.key").stat().st_mode) == 0o600


def test_create_never_touches_an_existing_file(tmp_path: Path) -> None:
    path = write(tmp_path / "master.key", b"precious")
    with pytest.raises(CannotStart, match="exists already"):
        MasterKeys.create(path)
    assert path.read_bytes() == b"precious"
    assert [entry.name for entry in tmp_path.iterdir()] == ["master.key"]


def test_create_where_there_is_no_directory(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match="cannot create it: No such file or directory"):
        MasterKeys.create(tmp_path / "absent" / "master.key")


def test_processes_that_start_together_agree(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: MasterKeys.load_or_create(path), range(16)))
    assert len({keys.derive(1, b"", b"") for keys in made}) == 1


def test_load_or_create_when_somebody_was_faster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "master.key"
    link = os.link

    def slow(source: Path, target: Path) -> None:
        write(path, KEY)
        link(source, target)

    monkeypatch.setattr(os, "link", slow)
    assert MasterKeys.load_or_create(path).derive(1, b"", b"") == MasterKeys({1: bytes(range(32))}).derive(1, b"", b"")


def test_load_or_create_does_not_replace_a_broken_file(tmp_path: Path) -> None:
    path = write(tmp_path / "master.key", b"broken")
    with pytest.raises(CannotStart, match="line 1"):
        MasterKeys.load_or_create(path)
    assert path.read_bytes() == b"broken"


def test_a_bare_key_is_number_one(tmp_path: Path) -> None:
    keys = MasterKeys.load(write(tmp_path / "k", KEY))
    assert keys.kids == (1,)


def test_numbered_keys_comments_and_blank_lines(tmp_path: Path) -> None:
    text = b"# rotated in May\r\n\r\n 2: " + OTHER + b"\n1:" + KEY + b"\n"
    keys = MasterKeys.load(write(tmp_path / "k", text))
    assert keys.kids == (1, 2)
    assert keys.current == 2


def test_both_base64_alphabets(tmp_path: Path) -> None:
    key = b"\xff\xfe" * 16
    standard = MasterKeys.load(write(tmp_path / "a", base64.b64encode(key)))
    url_safe = MasterKeys.load(write(tmp_path / "b", base64.urlsafe_b64encode(key)))
    assert standard.derive(1, b"", b"") == url_safe.derive(1, b"", b"") == MasterKeys({1: key}).derive(1, b"", b"")


@pytest.mark.parametrize(
    "line",
    [
        KEY[:-5],
        KEY + KEY,
        b"0:" + KEY,
        b"256:" + KEY,
        b"-1:" + KEY,
        b"1000:" + KEY,
        "²:".encode() + KEY,
        b"one:" + KEY,
        b":" + KEY,
        b"1:",
        b"1:" + KEY[:-1],
        b"1:" + KEY[:-1] + b"!",
        b"1:2:" + KEY,
        "schlüssel".encode(),
        b"\xff\xfe\x00",
    ],
)
def test_malformed_line_is_named_and_never_shown(tmp_path: Path, line: bytes) -> None:
    text = complaint(write(tmp_path / "k", b"# comment\n" + line + b"\n"))
    assert "line 2" in text
    assert KEY[:12].decode() not in text
    assert line.decode("latin-1") not in text


def test_one_number_twice(tmp_path: Path) -> None:
    assert "line 2 gives key 1 a second time" in complaint(write(tmp_path / "k", KEY + b"\n1:" + OTHER))


def test_no_key_at_all(tmp_path: Path) -> None:
    assert "no key in it" in complaint(write(tmp_path / "k", b"\n# nothing\n"))


def test_files_that_cannot_be_key_files(tmp_path: Path) -> None:
    assert "not found" in complaint(tmp_path / "absent")
    assert "Is a directory" in complaint(tmp_path)
    assert "larger than 64 KiB" in complaint(write(tmp_path / "big", b"#" * 70_000))
    assert "not a regular file" in complaint(Path("/dev/null"))


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666, 0o660, 0o622])
def test_a_file_others_can_change_is_refused(tmp_path: Path, mode: int) -> None:
    assert f"mode {mode:04o} lets others change it" in complaint(write(tmp_path / "k", KEY, mode))


@pytest.mark.parametrize("mode", [0o644, 0o440, 0o444, 0o640])
def test_a_file_others_can_read_is_a_warning(tmp_path: Path, mode: int) -> None:
    (warning,) = MasterKeys.load(write(tmp_path / "k", KEY, mode)).warnings
    assert f"mode {mode:04o} lets others read it" in warning


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_private_file_is_no_warning(tmp_path: Path, mode: int) -> None:
    assert MasterKeys.load(write(tmp_path / "k", KEY, mode)).warnings == ()


def test_a_mounted_secret_is_a_link(tmp_path: Path) -> None:
    write(tmp_path / "data", KEY)
    (tmp_path / "k").symlink_to(tmp_path / "data")
    assert MasterKeys.load(tmp_path / "k").current == 1


@pytest.mark.parametrize("keys", [{}, {0: bytes(32)}, {256: bytes(32)}, {1: bytes(31)}, {1: b""}])
def test_impossible_key_sets(keys: dict[int, bytes]) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        MasterKeys(keys)


@pytest.mark.parametrize(("info", "salt"), [(b"", b""), (b"info", b"salt"), (bytes(16), b"x" * 70)])
def test_derive_is_hkdf_sha256(info: bytes, salt: bytes) -> None:
    expected = HKDF(hashes.SHA256(), 32, salt, info).derive(bytes(range(32)))
    keys = MasterKeys({1: bytes(range(32))})
    assert keys.derive(1, info, salt) == expected
    assert keys.derive(1, info, salt) == expected


def test_seal_and_open() -> None:
    keys = master_keys(1, 2)
    kid, sealed = keys.seal(b"secret", b"purpose")
    assert kid == 2
    assert b"secret" not in sealed
    assert keys.open(2, sealed, b"purpose") == b"secret"
    assert keys.seal(b"secret", b"purpose")[1] != sealed
    old_kid, old = keys.seal(b"secret", b"purpose", kid=1)
    assert old_kid == 1
    assert master_keys(1).open(1, old, b"purpose") == b"secret"


def test_open_refuses_what_was_altered_moved_or_sealed_elsewhere() -> None:
    keys = master_keys(1, 2)
    kid, sealed = keys.seal(b"secret", b"purpose")
    attempts = [
        (kid, sealed, b"other"),
        (1, sealed, b"purpose"),
        (3, sealed, b"purpose"),
        (kid, sealed[:-1], b"purpose"),
        (kid, sealed[:5], b"purpose"),
        (kid, b"", b"purpose"),
        (kid, bytes([sealed[0] ^ 1]) + sealed[1:], b"purpose"),
    ]
    for attempt in attempts:
        with pytest.raises(SealBroken):
            keys.open(*attempt)


def test_the_nonce_comes_from_the_randomness_given() -> None:
    keys = MasterKeys({1: bytes(32)}, random_bytes=lambda size: b"\x07" * size)
    assert keys.seal(b"x", b"p")[1].startswith(b"\x07" * 12)


def test_no_key_in_any_text() -> None:
    keys = MasterKeys({1: b"k" * 32})
    assert "kkk" not in repr(keys) + str(keys)
