"""No secret leaves through `config show`."""

from __future__ import annotations

import pytest

from gateway.settings.loader import load
from gateway.settings.secrets import REDACTED, origin, redact_url, shown


@pytest.mark.parametrize(
    ("url", "redacted"),
    [
        ("postgresql://gw:hunter2@db/gw", f"postgresql://gw:{REDACTED}@db/gw"),
        ("redis://:hunter2@h:6379/0", f"redis://:{REDACTED}@h:6379/0"),
        ("postgresql://h/d?user=a&password=hunter2&x=1", f"postgresql://h/d?user=a&password={REDACTED}&x=1"),
        ("sqlite:///gateway.db", "sqlite:///gateway.db"),
        ("http://[hunter2", REDACTED),
    ],
)
def test_a_password_in_a_url_is_hidden(url: str, redacted: str) -> None:
    assert redact_url(url) == redacted


def test_show_hides_secrets_and_writes_values_as_the_file_would() -> None:
    loaded = load(
        None, {"GATEWAY__STORAGE__DATABASE": "sqlite:///a.db?password=hunter2", "GATEWAY__TOKENS__ACCESS_TTL": "90s"}
    )
    document = shown(loaded)
    assert document["storage"]["database"] == f"sqlite:///a.db?password={REDACTED}"
    assert document["tokens"]["access_ttl"] == "90s"
    assert document["server"]["workers"] == 1
    assert origin(loaded, ("tokens", "access_ttl")) == "GATEWAY__TOKENS__ACCESS_TTL"
    assert origin(loaded, ("tokens", "audience")) == "default"
