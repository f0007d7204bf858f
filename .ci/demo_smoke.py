"""Starts scripts/demo, pastes the lines it prints into a shell, and looks for what they promise."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

LIMIT = 180.0


def main() -> int:
    """0 when the demo does what it says."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = time.monotonic()
    with subprocess.Popen(
        ["scripts/demo", "--port", str(port)], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as demo:
        assert demo.stdout is not None
        watchdog = threading.Timer(LIMIT, demo.kill)
        watchdog.start()
        shown = ""
        for line in demo.stdout:
            shown += line
            if "Ctrl-C" in line:
                break
        print(f"usable after {time.monotonic() - started:.1f} s")
        pasted = "\n".join(line.strip() for line in shown.partition("Paste these")[2].splitlines()[1:-1])
        answers = subprocess.run(
            ["bash", "-c", pasted], capture_output=True, text=True, timeout=LIMIT, check=False, stdin=subprocess.DEVNULL
        )
        demo.send_signal(signal.SIGINT)
        log = demo.communicate(timeout=LIMIT)[0]
        watchdog.cancel()
    folder = re.search(r"(\S*/gateway-demo-[^/\s]+)/", shown)
    wanted = {
        "the backend is told who calls": "X-User-Id" in answers.stdout or "x-user-id" in answers.stdout.lower(),
        "the forged header does not arrive": "somebody-else" not in answers.stdout,
        "replay is theft": "refresh_token_reused" in answers.stdout,
        "the access token dies with it": "invalid_token" in answers.stdout,
        "log-out answers 204": "\n204\n" in f"\n{answers.stdout}",
        "the log says theft": '"session.refresh_reused"' in log,
        "the process ends well": demo.returncode == 0,
        "nothing is left behind": folder is not None and not Path(folder[1]).exists(),
    }
    for what, ok in wanted.items():
        print(f"{'ok' if ok else 'FAILED'}: {what}")
    if not all(wanted.values()):
        print(shown, answers.stdout, answers.stderr, log, sep="\n", file=sys.stderr)
    return 0 if all(wanted.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
