"""No secret leaves through `config show`."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.policies import span_policy
from gateway.settings.loader import ConfigError, load
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


def test_the_admin_token_is_hidden_as_a_whole_wherever_it_comes_from(tmp_path: Path) -> None:
    token = "only-for-this-test-0123456789abcdef"
    (tmp_path / "token").write_text(token + "\n")
    for env in ({"GATEWAY__SERVER__ADMIN_TOKEN": token}, {"GATEWAY__SERVER__ADMIN_TOKEN_FILE": f"{tmp_path}/token"}):
        loaded = load(None, env)
        assert loaded.settings.server.admin_token == token
        assert shown(loaded)["server"]["admin_token"] == REDACTED
        assert token not in str(shown(loaded))


def test_a_refused_admin_token_is_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, {"GATEWAY__SERVER__ADMIN_TOKEN": "short-secret"})
    assert "short-secret" not in str([str(problem) for problem in caught.value.problems])


def test_the_collectors_headers_are_hidden_whole_and_can_come_from_a_file(tmp_path: Path) -> None:
    secret = "authorization=Basic%20c2VjcmV0,x-tenant=a"
    file = tmp_path / "headers"
    file.write_text(secret + "\n")
    for env in ({"GATEWAY__TRACING__HEADERS": secret}, {"GATEWAY__TRACING__HEADERS_FILE": str(file)}):
        loaded = load(None, env | {"GATEWAY__TRACING__ENDPOINT": "http://127.0.0.1:4318"})
        assert shown(loaded)["tracing"]["headers"] == REDACTED
        policy = span_policy(loaded.settings)
        assert policy is not None
        assert policy.headers == (("authorization", "Basic c2VjcmV0"), ("x-tenant", "a"))
        assert "c2VjcmV0" not in repr(policy)


def test_a_collector_without_a_path_and_a_ratio_from_the_environment() -> None:
    env = {"GATEWAY__TRACING__ENDPOINT": "http://collector:4318/", "GATEWAY__TRACING__SAMPLE_RATIO": "0.25"}
    policy = span_policy(load(None, env).settings)
    assert policy is not None
    assert (policy.endpoint, policy.sample_ratio) == ("http://collector:4318/v1/traces", 0.25)
    assert span_policy(load(None, {}).settings) is None
