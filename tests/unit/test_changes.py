"""What a change of the configuration is called, and whether it weakens anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.changes import How, compare, how, merged
from gateway.settings.loader import load
from gateway.settings.model import Settings

ROUTES = """
- {name: api, match: {path: /api/}, upstream: "http://127.0.0.1:9000"}
- {name: admin, match: {path: /admin/}, upstream: "http://127.0.0.1:9000", require: {roles: [admin]}}
- {name: open, match: {path: /}, upstream: "http://127.0.0.1:9000", auth: none}
"""


TLS = {"cert_file": "a.pem", "key_file": "a.pem", "min_version": "1.3"}


def settings(**sections: Any) -> Settings:
    return Settings.model_validate({"routes": yaml.safe_load(ROUTES)} | sections)


def edited(old: str, new: str) -> Settings:
    assert old in ROUTES
    return settings(routes=yaml.safe_load(ROUTES.replace(old, new)))


def told(before: Settings, after: Settings) -> list[tuple[str, bool]]:
    return [(change.text, change.weakens) for change in compare(before, after)]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("/api/}, upstream", "/api/}, auth: none, upstream", [("route api: required → none", True)]),
        ("/api/}, upstream", "/api/}, auth: optional, upstream", [("route api: required → optional", True)]),
        ("auth: none", "auth: required", [("route open: none → required", False)]),
        ("roles: [admin]", "roles: []", [("route admin: role admin no longer needed", True)]),
        ("roles: [admin]", "roles: [admin, user]", [("route admin: role user suffices too", True)]),
        (
            "roles: [admin]",
            "roles: [root]",
            [("route admin: role root suffices too", True), ("route admin: role admin no longer suffices", False)],
        ),
        ("/api/}, upstream", "/api/}, require: {roles: [user]}, upstream", [("route api: role user needed", False)]),
        (
            "/api/}, upstream",
            "/api/}, revocation: strict, upstream",
            [("route api: revocation: best_effort → strict", False)],
        ),
        (
            "/api/}, upstream",
            "/api/}, allow_encoded_slash: true, upstream",
            [("route api: encoded slashes are let through", True)],
        ),
        ("/api/}, upstream", "/api/}, retries: 3, upstream", [("route api: retries: 1 → 3", False)]),
        (
            "/api/}, upstream",
            "/api/}, timeouts: {response: 1m}, upstream",
            [("route api: timeouts.response: 30s → 1m", False)],
        ),
        (
            'name: api, match: {path: /api/}, upstream: "http://127.0.0.1:9000"',
            'name: api, match: {path: /api/}, upstream: "http://127.0.0.1:9001"',
            [("route api: upstream: [http://127.0.0.1:9000] → [http://127.0.0.1:9001]", False)],
        ),
    ],
)  # fmt: skip
def test_a_route_that_stays(old: str, new: str, expected: list[tuple[str, bool]]) -> None:
    assert told(settings(), edited(old, new)) == expected


def test_a_removed_route_leaves_its_paths_to_another() -> None:
    without = settings(routes=[route for route in yaml.safe_load(ROUTES) if route["name"] != "admin"])
    assert told(settings(), without) == [
        ("/admin/ is answered by route open (none), not admin (required, role admin)", True),
        ("route admin: removed (/admin/, required, role admin)", False),
    ]


def test_a_new_route_takes_paths_from_a_stricter_one() -> None:
    added = {"name": "files", "match": {"path": "/api/files/"}, "upstream": "http://127.0.0.1:9000", "auth": "none"}
    after = settings(routes=[*yaml.safe_load(ROUTES), added])
    assert told(settings(), after) == [
        ("route files: added (/api/files/, none)", True),
        ("/api/files/ is answered by route files (none), not api (required)", True),
    ]
    assert told(settings(routes=[]), settings(routes=[added])) == [("route files: added (/api/files/, none)", True)]
    strict = added | {"auth": "required"}
    assert told(settings(routes=[]), settings(routes=[strict])) == [
        ("route files: added (/api/files/, required)", False)
    ]


def test_a_renamed_route_weakens_nothing() -> None:
    assert not any(weakens for _, weakens in told(settings(), edited("name: open", "name: rest")))


def test_a_route_that_is_widened() -> None:
    narrow = {"name": "files", "match": {"path": "/files/"}, "upstream": "http://127.0.0.1:9000", "auth": "none"}
    wide = narrow | {"match": {"path": "/"}}
    assert ("/ is answered by route files (none), not by none", True) in told(
        settings(routes=[narrow]), settings(routes=[wide])
    )


@pytest.mark.parametrize(
    ("before", "after", "text", "weakens"),
    [
        ({}, {"server": {"trusted_proxies": ["10.0.0.0/8"]}}, "server.trusted_proxies: + 10.0.0.0/8", True),
        ({"server": {"trusted_proxies": ["10.0.0.0/8"]}}, {}, "server.trusted_proxies: - 10.0.0.0/8", False),
        ({}, {"auth": {"cookie": {"secure": False}}}, "auth.cookie.secure: true → false", True),
        ({"auth": {"cookie": {"secure": False}}}, {}, "auth.cookie.secure: false → true", False),
        ({}, {"auth": {"cookie": {"same_site": "lax"}}}, "auth.cookie.same_site: strict → lax", True),
        ({}, {"auth": {"allowed_origins": ["https://a.test"]}}, "auth.allowed_origins: + https://a.test", True),
        ({}, {"auth": {"body_tokens": False}}, "auth.body_tokens: true → false", False),
        ({}, {"tokens": {"access_ttl": "30m"}}, "tokens.access_ttl: 15m → 30m", True),
        ({}, {"sessions": {"on_reuse": "revoke_session"}}, "sessions.on_reuse: revoke_user → revoke_session", True),
        ({}, {"sessions": {"binding": {"device": "off"}}}, "sessions.binding.device: enforce → off", True),
        ({}, {"sessions": {"reauth_after": "12h"}}, "sessions.reauth_after: null → 12h", False),
        ({"sessions": {"reauth_after": "12h"}}, {}, "sessions.reauth_after: 12h → null", True),
        ({}, {"throttle": {"enabled": False}}, "throttle.enabled: true → false", True),
        ({}, {"throttle": {"pair": {"attempts": 20, "per": "15m"}}}, "throttle.pair.attempts: 10 → 20", True),
        ({}, {"throttle": {"pair": {"attempts": 10, "per": "30m"}}}, "throttle.pair.per: 15m → 30m", False),
        ({}, {"passwords": {"min_length": 12}}, "passwords.min_length: 8 → 12", False),
        ({"passwords": {"min_length": 12}}, {}, "passwords.min_length: 12 → 8", True),
        ({}, {"identity": {"forward_authorization": True}}, "identity.forward_authorization: false → true", True),
        ({}, {"logging": {"level": "debug"}}, "logging.level: info → debug", False),
        ({}, {"server": {"proxy_protocol": ["10.0.0.5"]}}, "server.proxy_protocol: + 10.0.0.5/32", True),
        ({}, {"server": {"limits": {"connections": 0}}}, "server.limits.connections: 20000 → 0", True),
        ({}, {"server": {"limits": {"connections": 10}}}, "server.limits.connections: 20000 → 10", False),
        (
            {"server": {"limits": {"connections_per_client": 0}}},
            {"server": {"limits": {"connections_per_client": 10}}},
            "server.limits.connections_per_client: 0 → 10",
            False,
        ),
        ({}, {"server": {"limits": {"body_rate": 0}}}, "server.limits.body_rate: 500B → 0B", True),
        ({}, {"server": {"limits": {"header_time": "1m"}}}, "server.limits.header_time: 15s → 1m", True),
        ({}, {"server": {"socket_mode": "0666"}}, "server.socket_mode: 0660 → 0666", True),
        ({}, {"server": {"socket_mode": "0600"}}, "server.socket_mode: 0660 → 0600", False),
        ({}, {"server": {"dns_ttl": "1m"}}, "server.dns_ttl: 30s → 1m", False),
        (
            {},
            {"server": {"admin_listen": "unix:/run/gateway/admin.sock"}},
            "server.admin_listen: 127.0.0.1:9090 → unix:/run/gateway/admin.sock",
            False,
        ),
        (
            {"server": {"tls": TLS}},
            {"server": {"tls": TLS | {"min_version": "1.2"}}},
            "server.tls.min_version: 1.3 → 1.2",
            True,
        ),
        (
            {"server": {"tls": TLS | {"client_ca_file": "ca.pem"}}},
            {"server": {"tls": TLS}},
            "server.tls.client_ca_file: ca.pem → null",
            True,
        ),
        (
            {"server": {"tls": TLS}},
            {"server": {"tls": TLS | {"key_file": "b.pem"}}},
            "server.tls.key_file: a.pem → b.pem",
            False,
        ),
        ({}, {"server": {"admin_token": "a" * 32}}, "server.admin_token: null → [redacted]", True),
        ({"server": {"admin_token": "a" * 32}}, {}, "server.admin_token: [redacted] → null", False),
        ({}, {"server": {"admin_listen": "0.0.0.0:9090"}}, "server.admin_listen: 127.0.0.1:9090 → 0.0.0.0:9090", True),
    ],
)
def test_other_settings(before: dict[str, Any], after: dict[str, Any], text: str, weakens: bool) -> None:
    assert told(settings(**before), settings(**after)) == [(text, weakens)]


def test_tls_that_is_switched_off_or_on() -> None:
    with_tls = settings(server={"tls": TLS})
    assert {weakens for _, weakens in told(with_tls, settings())} == {True}
    assert {weakens for _, weakens in told(settings(), with_tls)} == {False}
    for before, after in ((settings(), with_tls), (with_tls, settings())):
        assert merged(before, after, How.SWAP) == before
        assert merged(before, after, How.ROLL) == after


@pytest.mark.parametrize(
    ("before", "after", "text", "weakens"),
    [
        ({"limits": {"rate": {"requests": 5, "per": "1s"}}}, {}, "limits.rate: {requests: 5, per: 1s} → null", True),
        ({}, {"limits": {"rate": {"requests": 5, "per": "1s"}}}, "limits.rate: null → {requests: 5, per: 1s}", False),
        ({"limits": {"concurrency": 5}}, {}, "limits.concurrency: 5 → 0", True),
        ({}, {"limits": {"concurrency": 5}}, "limits.concurrency: 0 → 5", False),
        ({"limits": {"concurrency_per_client": 5}}, {"limits": {"concurrency_per_client": 6}},
         "limits.concurrency_per_client: 5 → 6", True),
        ({"limits": {"body": "1KiB"}}, {"limits": {"body": "2KiB"}}, "limits.body: 1KiB → 2KiB", True),
        ({"limits": {"response_body": "1KiB"}}, {}, "limits.response_body: 1KiB → null", True),
        ({"upstream_tls": {"ca_file": "ca.pem"}}, {}, "upstream_tls.ca_file: ca.pem → null", True),
        ({}, {"upstream_tls": {"ca_file": "ca.pem"}}, "upstream_tls.ca_file: null → ca.pem", False),
        ({"upstream": "https://a.test"}, {"upstream": "http://a.test"},
         "upstream: [https://a.test] → [http://a.test]", True),
        ({"upstream": "http://a.test"}, {"upstream": "https://a.test"},
         "upstream: [http://a.test] → [https://a.test]", False),
        ({"request_headers": {"remove": ["X-Debug"]}}, {}, "request_headers changed", True),
        ({"request_headers": {"remove": ["X-Debug"]}}, {"request_headers": {"set": {"x-debug": "no"}}},
         "request_headers changed", False),
        ({"response_headers": {"set": {"X-Frame-Options": "DENY"}}}, {}, "response_headers changed", True),
        ({"response_headers": {"set": {"A": "s3cret-1"}}}, {"response_headers": {"set": {"A": "s3cret-2"}}},
         "response_headers changed", False),
    ],
)  # fmt: skip
def test_other_keys_of_a_route(before: dict[str, Any], after: dict[str, Any], text: str, weakens: bool) -> None:
    base = {"name": "api", "match": {"path": "/api/"}, "upstream": "http://127.0.0.1:9000"}
    assert told(settings(routes=[base | before]), settings(routes=[base | after])) == [(f"route api: {text}", weakens)]


def test_an_identity_header_that_is_no_longer_removed_from_requests() -> None:
    after = settings(identity={"headers": {"X-User-Id": "sub"}})
    found = told(settings(), after)
    assert ("identity.headers.X-User-Roles: roles → null", True) in found
    assert all(weakens for _, weakens in found)
    assert not any(weakens for _, weakens in told(after, settings()))


def test_secrets_are_not_told() -> None:
    before = settings(storage={"database": "postgresql://gateway:hunter2hunter2@db/gateway"})
    after = settings(storage={"database": "postgresql://gateway:correct-horse@db2/gateway"})
    (change,) = compare(before, after)
    assert "hunter2" not in change.text
    assert "horse" not in change.text
    assert "db2" in change.text


def test_another_secret_is_a_change_that_shows_neither() -> None:
    before, after = settings(server={"admin_token": "a" * 32}), settings(server={"admin_token": "b" * 32})
    (change,) = compare(before, after)
    assert (change.text, change.how, change.weakens) == ("server.admin_token: changed", How.SWAP, False)
    before = settings(storage={"database": "postgresql://gateway:hunter2@db/gateway"})
    after = settings(storage={"database": "postgresql://gateway:correct@db/gateway"})
    (change,) = compare(before, after)
    assert (change.text, change.how) == ("storage.database: changed", How.RESTART)


def test_nothing_changed() -> None:
    assert compare(settings(), settings()) == ()


def test_every_section_says_how_it_changes() -> None:
    """A new section must be thought of here; a new key of `server` needs a restart until somebody says otherwise."""
    for section in Settings.model_fields:
        assert how((section, "x")) in How
        assert section in {"server", "storage", "tokens", "sessions", "auth"} | {
            "identity",
            "throttle",
            "passwords",
            "logging",
            "tracing",
            "routes",
        }
    assert how(("server", "listen")) is How.RESTART
    assert how(("server", "trusted_proxies")) is How.SWAP
    assert how(("server", "workers")) is How.ROLL
    assert how(("server", "tls", "key_file")) is How.ROLL
    assert how(("server", "limits", "connections")) is How.ROLL
    assert how(("server", "socket_mode")) is How.RESTART
    assert how(("passwords", "hashing", "permits")) is How.ROLL
    assert how(("tokens", "algorithm")) is How.ROLL
    assert how(("tracing", "sample_ratio")) is How.ROLL
    assert how(("never", "heard", "of")) is How.RESTART


def test_what_cannot_change_keeps_its_value() -> None:
    after = settings(
        server={"listen": "127.0.0.1:9999", "workers": 4, "trusted_proxies": ["10.0.0.0/8"]},
        tokens={"access_ttl": "5m"},
        routes=[],
    )
    swapped = merged(settings(), after, How.SWAP)
    assert (swapped.server.listen, swapped.server.workers, swapped.tokens.access_ttl) == ("127.0.0.1:8080", 1, 900.0)
    assert (swapped.server.trusted_proxies, swapped.routes) == (("10.0.0.0/8",), ())
    rolled = merged(settings(), after, How.ROLL)
    assert (rolled.server.listen, rolled.server.workers, rolled.tokens.access_ttl) == ("127.0.0.1:8080", 4, 300.0)
    assert merged(settings(), after, How.RESTART) == after


def test_settings_survive_the_way_to_a_worker() -> None:
    sample = load(Path(__file__).parents[2] / "config" / "gateway.yaml", {}).settings
    for made in (sample, settings(server={"workers": "auto", "trusted_proxies": ["10.0.0.0/8"]})):
        assert Settings.model_validate(json.loads(json.dumps(made.model_dump(mode="json")))) == made
