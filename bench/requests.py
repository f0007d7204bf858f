"""The bytes that are sent."""

from __future__ import annotations

import random
from itertools import accumulate

AGENT = "bench/1.0"


def get(path: str, token: str | None = None) -> bytes:
    """A GET as a client library sends it."""
    authorization = f"Authorization: Bearer {token}\r\n" if token else ""
    head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: {AGENT}\r\nAccept: */*\r\n{authorization}\r\n"
    return head.encode()


def post(path: str, token: str, body: bytes, kind: str = "application/octet-stream") -> bytes:
    """A POST with Content-Length."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: {AGENT}\r\nAccept: */*\r\n"
        f"Authorization: Bearer {token}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def forged(token: str) -> str:
    """The token with another signature of the same length."""
    head, _, signature = token.rpartition(".")
    return f"{head}.{signature[::-1]}"


def zipf(count: int, draws: int, seed: int = 7) -> list[int]:
    """`draws` of the numbers 0 to `count` - 1, number k as often as 1 / (k + 1)."""
    weights = list(accumulate(1 / rank for rank in range(1, count + 1)))
    return random.Random(seed).choices(range(count), cum_weights=weights, k=draws)
