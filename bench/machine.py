"""Who runs where: the measured peer on the first CPU, load and origins on the last; the packages a bench needs."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

CPUS = sorted(os.sched_getaffinity(0))
PEER_CPU, LOAD_CPU = CPUS[0], CPUS[-1]
PACKAGES = {
    "wrk": "wrk",
    "nginx": "nginx-light",
    "haproxy": "haproxy",
    "caddy": "caddy",
    "apache2": "apache2 libapache2-mod-auth-openidc",
}
OPEN_FILES = 20_000


def pinned(cpu: int, command: Sequence[str]) -> list[str]:
    """The command, kept on one CPU (as it is on a machine with one)."""
    return ["taskset", "-c", str(cpu), *command] if len(CPUS) > 1 else list(command)


def prepare() -> None:
    """Move this process to the load's CPU and let it and its children open many files."""
    if len(CPUS) > 1:
        os.sched_setaffinity(0, {LOAD_CPU})
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # only root may raise the hard limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(OPEN_FILES, hard), max(OPEN_FILES, hard)))
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def install() -> None:
    """Install what is missing with apt, when there is one and this is root; no service is started."""
    missing = [package for tool, package in PACKAGES.items() if shutil.which(tool) is None]
    if not missing or shutil.which("apt-get") is None or os.geteuid() != 0:
        return
    print(f"bench: installing {' '.join(missing)}", file=sys.stderr)
    # Debian starts a package's service on installation unless this file says no; an existing one is left alone.
    policy = Path("/usr/sbin/policy-rc.d")
    made = not policy.exists()
    try:
        if made:
            policy.write_text("#!/bin/sh\nexit 101\n")
            policy.chmod(0o755)
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "-q", "update"], env=environment, stdout=subprocess.DEVNULL, timeout=120)
        for names in missing:
            command = ["apt-get", "-q", "install", "-y", "--no-install-recommends", *names.split()]
            done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, timeout=300)
            if done.returncode:
                print(f"bench: {names} can't be installed", file=sys.stderr)
    finally:
        if made:
            policy.unlink()
