"""Secrets in text that somebody else wrote."""

from __future__ import annotations

import pytest

from gateway.telemetry.redact import scrub

JWT = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhIn0.SGFsbG8"


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("Authorization: Bearer abcdefghijk", "Authorization: [redacted]"),
        ("sent Bearer abcdefghijk here", "sent Bearer [redacted] here"),
        (f"token {JWT}!", "token [redacted]!"),
        ("gwr_" + "a" * 76, "[redacted]"),
        ("'Cookie': 'gw_refresh=x; a=b'", "'Cookie': [redacted]"),
        ("Set-Cookie: gw_refresh=x; Path=/\nnext", "Set-Cookie: [redacted]\nnext"),
        ('{"password": "hunter2", "a": 1}', '{"password": "[redacted]", "a": 1}'),
        ("password=hunter2&x=1", "password=[redacted]&x=1"),
        ("refresh_token=abc", "refresh_token=[redacted]"),
        ("postgresql://gw:hunter2@db/x", "postgresql://[redacted]@db/x"),
        ("GET /a/b?code=1&x=2 HTTP/1.1", "GET /a/b?[redacted] HTTP/1.1"),
        ("https://h/p?q=1", "https://h/p?[redacted]"),
        ("why? because", "why? because"),
        ("database is locked", "database is locked"),
        ("Mozilla/5.0 (X11; Linux x86_64)", "Mozilla/5.0 (X11; Linux x86_64)"),
    ],
)
def test_secrets_are_cut_out_and_the_rest_stays(text: str, scrubbed: str) -> None:
    assert scrub(text) == scrubbed
