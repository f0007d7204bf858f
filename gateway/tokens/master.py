"""The master keys: one small file that everything secret in the store hangs from."""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.errors import CannotStart
from gateway.tokens.errors import SealBroken

KEY_BYTES = 32
MAX_KID = 255
_MAX_FILE = 64 * 1024
_NONCE_BYTES = 12
_SEAL_SALT = b"gateway seal 1"

RandomBytes = Callable[[int], bytes]


class _Missing(CannotStart):
    """There is no key file."""


class _Exists(CannotStart):
    """There is a key file already."""


class MasterKeys:
    """The keys of a master key file, by number. The highest number is `current`; the others still open and derive.

    `warnings` are sentences for the operator about the file; they never contain key material.
    """

    __slots__ = ("_extracted", "_keys", "_random", "_seals", "current", "warnings")

    def __init__(
        self, keys: Mapping[int, bytes], *, warnings: tuple[str, ...] = (), random_bytes: RandomBytes = os.urandom
    ) -> None:
        if not keys or any(not 1 <= kid <= MAX_KID or len(key) != KEY_BYTES for kid, key in keys.items()):
            raise ValueError("master keys are 32 bytes each, numbered 1 to 255")
        self._keys = dict(keys)
        self._random = random_bytes
        self._extracted: dict[tuple[int, bytes], bytes] = {}
        self._seals: dict[int, AESGCM] = {}
        self.current = max(keys)
        self.warnings = warnings

    @classmethod
    def load(cls, path: Path) -> MasterKeys:
        """Read a key file; raises `CannotStart` with one line that names the file and never shows a key."""
        text, warnings = _read(path)
        return cls(_parse(path, text), warnings=warnings)

    @classmethod
    def create(cls, path: Path, *, random_bytes: RandomBytes = os.urandom) -> MasterKeys:
        """Make a key file with one new key, mode 0600. Whole or not at all; an existing file is never touched."""
        key = random_bytes(KEY_BYTES)
        try:
            _write_new(path, b"1:" + base64.b64encode(key) + b"\n")
        except FileExistsError:
            raise _Exists(f"master key file {path}: exists already") from None
        except OSError as error:
            raise CannotStart(f"master key file {path}: cannot create it: {error.strerror}") from None
        return cls({1: key})

    @classmethod
    def load_or_create(cls, path: Path) -> MasterKeys:
        """Read the file, or make it when there is none; processes that start together end up with one key."""
        try:
            return cls.load(path)
        except _Missing:
            try:
                return cls.create(path)
            except _Exists:
                return cls.load(path)

    @property
    def kids(self) -> tuple[int, ...]:
        """The numbers of the keys in the file, lowest first."""
        return tuple(sorted(self._keys))

    def derive(self, kid: int, info: bytes, salt: bytes) -> bytes:
        """HKDF-SHA256 (RFC 5869), 32 bytes. `salt` is one of a few constants: the extract step is kept per salt."""
        extracted = self._extracted.get((kid, salt))
        if extracted is None:
            extracted = hmac.digest(salt, self._key(kid), "sha256")
            self._extracted[kid, salt] = extracted
        return hmac.new(extracted, info + b"\x01", "sha256").digest()

    def seal(self, plaintext: bytes, purpose: bytes, *, kid: int | None = None) -> tuple[int, bytes]:
        """Encrypt (AES-256-GCM) under the current key, or under `kid`; opens only with the same `purpose`.

        Returns the key's number and the sealed bytes: nonce, ciphertext, tag.
        """
        kid = self.current if kid is None else kid
        nonce = self._random(_NONCE_BYTES)
        return kid, nonce + self._seal(kid).encrypt(nonce, plaintext, _bind(kid, purpose))

    def open(self, kid: int, sealed: bytes, purpose: bytes) -> bytes:
        """Decrypt what `seal` made; raises `SealBroken`."""
        nonce, ciphertext = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return self._seal(kid).decrypt(nonce, ciphertext, _bind(kid, purpose))
        except (InvalidTag, ValueError):
            raise SealBroken(debug=f"a value sealed under master key {kid} does not open") from None

    def _key(self, kid: int) -> bytes:
        key = self._keys.get(kid)
        if key is None:
            raise SealBroken(debug=f"master key {kid} is not in the key file")
        return key

    def _seal(self, kid: int) -> AESGCM:
        cipher = self._seals.get(kid)
        if cipher is None:
            cipher = self._seals[kid] = AESGCM(self.derive(kid, b"", _SEAL_SALT))
        return cipher


def _bind(kid: int, purpose: bytes) -> bytes:
    return bytes((kid,)) + purpose


def _read(path: Path) -> tuple[bytes, tuple[str, ...]]:
    try:
        with path.open("rb") as file:
            info = os.fstat(file.fileno())
            if not stat.S_ISREG(info.st_mode):
                raise CannotStart(f"master key file {path}: not a regular file")
            text = file.read(_MAX_FILE + 1)
    except FileNotFoundError:
        raise _Missing(f"master key file {path}: not found") from None
    except OSError as error:
        raise CannotStart(f"master key file {path}: cannot read it: {error.strerror}") from None
    if len(text) > _MAX_FILE:
        raise CannotStart(f"master key file {path}: larger than 64 KiB")
    return text, _check_mode(path, info)


def _check_mode(path: Path, info: os.stat_result) -> tuple[str, ...]:
    """Refuse a file others can change; only warn when others can read it, as mounted secrets in containers are 0444."""
    if os.name != "posix":
        return ()
    mode = stat.S_IMODE(info.st_mode)
    if mode & 0o022:
        raise CannotStart(f"master key file {path}: mode {mode:04o} lets others change it; run chmod 600 on it")
    if mode & 0o044:
        return (f"master key file {path}: mode {mode:04o} lets others read it; 0600 is safer",)
    return ()


def _parse(path: Path, text: bytes) -> dict[int, bytes]:
    keys: dict[int, bytes] = {}
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith(b"#"):
            continue
        kid_text, separator, key_text = line.partition(b":")
        kid = _parse_kid(kid_text) if separator else 1
        key = _parse_key(key_text if separator else kid_text)
        if kid is None or key is None:
            raise CannotStart(
                f"master key file {path}: line {number} is not a key of 32 bytes in base64, "
                "with or without a number from 1 to 255 and a colon before it"
            )
        if kid in keys:
            raise CannotStart(f"master key file {path}: line {number} gives key {kid} a second time")
        keys[kid] = key
    if not keys:
        raise CannotStart(f"master key file {path}: no key in it")
    return keys


def _parse_kid(text: bytes) -> int | None:
    if not text.isdigit() or len(text) > 3 or not 1 <= int(text) <= MAX_KID:
        return None
    return int(text)


def _parse_key(text: bytes) -> bytes | None:
    try:
        key = base64.b64decode(text.strip().replace(b"-", b"+").replace(b"_", b"/"), validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if len(key) == KEY_BYTES else None


def _write_new(path: Path, content: bytes) -> None:
    """Write beside the target, sync, then link into place: readers see the whole file, and the first writer wins."""
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    finally:
        temporary.unlink()
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
