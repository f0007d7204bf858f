"""A worker process, as the supervisor sees it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gateway.runtime import child
from gateway.runtime.workers import usable_cpus, worker_count
from gateway.settings.model import Settings

HEAVY = ("aiohttp", "cryptography", "jwt", "sqlite3", "argon2", "uvloop", "yarl")


def test_a_worker_does_not_look_for_modules_in_the_current_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["/opt/gateway/bin", *sys.path])
    assert child._flags() == ["-P"]
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])  # python -m gateway does it itself
    assert child._flags() == []


def test_the_supervisor_imports_no_framework_and_no_driver() -> None:
    code = f"import gateway.runtime.supervisor, sys; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"


def test_how_many_workers() -> None:
    for workers, expected in ((1, 1), (3, 3), ("auto", usable_cpus())):
        assert worker_count(Settings.model_validate({"server": {"workers": workers}})) == expected
    assert usable_cpus() >= 1
