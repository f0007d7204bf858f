"""Many clients that log in, each as other users in turn, as fast as they are let.

usage: python -m bench.logins PORT SECONDS USERS     prints how many answers had which status, as JSON
"""

from __future__ import annotations

import http.client
import itertools
import json
import sys
import threading
import time
from collections import Counter

from bench.requests import AGENT
from bench.sessions import PASSWORD

CLIENTS = 40
_PAUSE = 0.05
"""Seconds between a client's answer and its next try."""


def storm(port: int, seconds: float, users: int) -> Counter[str]:
    """Log in with `CLIENTS` clients for so long; answers by status, and `no_retry_after` for each 503 without one."""
    found: Counter[str] = Counter()
    ends, lock, numbers = time.monotonic() + seconds, threading.Lock(), itertools.count()

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        while time.monotonic() < ends:
            body = json.dumps({"username": f"user-{next(numbers) % users}", "password": PASSWORD})
            connection.request("POST", "/auth/login", body, {"Content-Type": "application/json", "User-Agent": AGENT})
            with connection.getresponse() as answer:
                answer.read()
            with lock:
                found[str(answer.status)] += 1
                found["no_retry_after"] += answer.status == 503 and "Retry-After" not in answer.headers
            time.sleep(_PAUSE)

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


if __name__ == "__main__":
    print(json.dumps(storm(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))))
