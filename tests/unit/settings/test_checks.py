"""What sections promise each other."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.certificates import Authority

from gateway.settings.loader import ConfigError, load


def check(tmp_path: Path, text: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Errors and warnings of a file, as path and message."""
    path = tmp_path / "gateway.yaml"
    path.write_text(text)
    try:
        warnings = load(path, {}).warnings
    except ConfigError as error:
        return [(problem.path, problem.message) for problem in error.problems], []
    return [], [(problem.path, problem.message) for problem in warnings]


def routes(*lines: str) -> str:
    return "routes:\n" + "".join(f"  - {{{line}}}\n" for line in lines)


GOOD_ROUTE_WITH_LIMITS = """
routes: [{name: a, match: {path: /a/}, upstream: 'http://h', limits: {rate: {requests: 9, per: 1s}, concurrency: 3}}]
"""
KEY = "master_key_file: k"
GOOD = "name: a, match: {path: /a/}, upstream: http://127.0.0.1:9000"
SECURE = "name: a, match: {path: /a/}, upstream: 'https://h'"


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("server: {workers: 4}\nstorage: {database: 'memory:'}", "server.workers", "workers share nothing"),
        ("tracing: {endpoint: 'collector:4318'}", "tracing.endpoint", "must be an absolute URL"),
        ("tracing: {endpoint: 'http://u:p@collector'}", "tracing.endpoint", "must not contain a user name or password"),
        ("tracing: {sample_ratio: 1.5}", "tracing.sample_ratio", "must be a number between 0 and 1"),
        ("tracing: {sample_ratio: true}", "tracing.sample_ratio", "must be a number between 0 and 1"),
        ("tracing: {sample_ratio: .nan}", "tracing.sample_ratio", "must be a number between 0 and 1"),
        ("tracing: {headers: 'Bearer x'}", "tracing.headers", "name=value,name=value"),
        ("tracing: {headers: 'a=x%0d%0ab: y'}", "tracing.headers", "without control characters"),
        ("tracing: {headers: 'a=%ff'}", "tracing.headers", "valid UTF-8"),
        ("tracing: {headers: 'a=%c3%a4'}", "tracing.headers", "must be ASCII"),
        ("tracing: {timeout: 10ms}", "tracing.timeout", "between 100ms and 60s"),
        ("server: {workers: 1000}", "server.workers", "must be at most 512"),
        ("server: {worker_timeout: 10ms}", "server.worker_timeout", "must be between 100ms and 1h"),
        ("server: {reload: {interval: 0s}}", "server.reload.interval", "must be between 50ms and 1h"),
        ("server: {workers: 0}", "server.workers", "must be a whole number of at least 1, or auto"),
        ("server: {listen: nowhere}", "server.listen", "write host:port"),
        ("server: {listen: '127.0.0.1:99999'}", "server.listen", "write host:port"),
        ("server: {listen: '::1:80'}", "server.listen", "in brackets: [::1]:80"),
        ("server: {dns_ttl: 0}", "server.dns_ttl", "between 1s and 24h"),
        ("server: {listen: 'unix:run/x'}", "server.listen", "unix:/absolute/path.sock"),
        ("server: {listen: '/run/x'}", "server.listen", "write unix:/run/x"),
        (f"server: {{listen: 'unix:/{'x' * 107}'}}", "server.listen", "at most 107 bytes"),
        ("server: {socket_mode: '0999'}", "server.socket_mode", "three octal digits"),
        ("server: {proxy_protocol: [lb]}", "server.proxy_protocol[0]", "is not an address or a CIDR"),
        ("server: {limits: {header_time: 0}}", "server.limits.header_time", "between 0.1s and 1h"),
        ("server: {limits: {body_window: 2h}}", "server.limits.body_window", "between 1s and 1h"),
        ("server: {limits: {header_bytes: 1B}}", "server.limits.header_bytes", "between 1KiB and 1MiB"),
        ("server: {limits: {headers: 1}}", "server.limits.headers", "must be at least 16"),
        ("server: {limits: {body_rate: 2MiB}}", "server.limits.body_rate", "at most 1MiB"),
        ("server: {tls: {cert_file: nowhere.pem, key_file: k}}", "server.tls", "cannot read nowhere.pem: No such"),
        ("server: {tls: {cert_file: c, key_file: k, min_version: '1.1'}}", "server.tls.min_version", "one of 1.2, 1.3"),
        ("server: {listen: 'a_b!:80'}", "server.listen", "neither a host name nor an address"),
        ("server: {admin_listen: '127.0.0.1:8080'}", "server.admin_listen", "same address as server.listen"),
        ("server: {public_url: example.com}", "server.public_url", "must be an absolute URL"),
        ("server: {public_url: 'https://example.com/app'}", "server.public_url", "without a path"),
        ("server: {public_url: 'https://a@example.com'}", "server.public_url", "user name or password"),
        ("server: {public_url: 'https://example.com?x'}", "server.public_url", "query or fragment"),
        ("server: {public_url: 'https://exa mple.com'}", "server.public_url", "blanks"),
        ("server: {public_url: 'https://example.com:0'}", "server.public_url", "no usable port"),
        ("server: {public_url: 'https://example.com:x'}", "server.public_url", "is not a URL"),
        ("server: {public_url: 'https://exam_ple.com'}", "server.public_url", "is not a host name"),
        ("server: {trusted_proxies: [everyone]}", "server.trusted_proxies[0]", "is not an address or a CIDR"),
        ("server: {trusted_proxies: [10.0.0.1/8]}", "server.trusted_proxies[0]", "write 10.0.0.0/8"),
        ("storage: {database: 'postgresql://u:p@h/d'}", "storage.master_key_file", "is needed with PostgreSQL"),
        (f"storage: {{database: 'postgresql://u@h', {KEY}}}", "storage.database", "names no database"),
        (f"storage: {{database: 'postgresql:/u@h/d', {KEY}}}", "storage.database", "is not a database URL"),
        (f"storage: {{database: 'postgresql+asyncpg://u@h/d', {KEY}}}", "storage.database", "is not a database URL"),
        (f"storage: {{database: 'postgresql://[u@h/d', {KEY}}}", "storage.database", "is not a database URL"),
        (f"storage: {{database: 'postgres://h/d?pgbouncer=maybe', {KEY}}}", "storage.database", "pgbouncer="),
        (f"storage: {{database: 'postgres://h/d', {KEY}, pool: 0}}", "storage.pool", "must be at least 1"),
        ("storage: {database: 'gateway.db'}", "storage.database", "is not a database URL"),
        ("storage: {database: 'sqlite://gateway.db'}", "storage.database", "is not a database URL"),
        ("storage: {database: 'sqlite:///'}", "storage.database", "is not a database URL"),
        ("storage: {redis: 'http://h:6379/0'}", "storage.redis", "is not a Redis URL"),
        ("storage: {redis: 'redis://h:6379/zero'}", "storage.redis", "other than a database number"),
        ("storage: {redis: 'redis://h,i'}", "storage.redis", "names several hosts"),
        ("storage: {redis: 'redis+cluster://h,i/3'}", "storage.redis", "which a cluster lacks"),
        ("storage: {redis: 'redis+sentinel://h,i'}", "storage.redis", "names no service"),
        ("storage: {redis: 'redis://h?ssl_cert_reqs=none'}", "storage.redis", "a query that is not understood"),
        ("storage: {redis: 'redis://:p/@h'}", "storage.redis", "must be percent-encoded"),
        ("storage: {redis_ca_file: /x}", "storage.redis_ca_file", "needs storage.redis"),
        ("storage: {redis: 'redis://h', redis_ca_file: /x}", "storage.redis_ca_file", "no effect without TLS"),
        ("storage: {redis: 'rediss://h', redis_ca_file: /no/file}", "storage.redis_ca_file", "No such file"),
        ("storage: {sessions: redis}", "storage.sessions", "not supported by this version"),
        ("tokens: {access_ttl: 500ms}\nsessions: {receipt_after: 0}", "tokens.access_ttl", "must be at least 1s"),
        ("tokens: {access_ttl: 25h}\nsessions: {idle_ttl: 48h}", "tokens.access_ttl", "must be at most 24h"),
        ("tokens: {key_rotation: 5m}", "tokens.key_rotation", "must not be shorter than tokens.access_ttl"),
        ("tokens: {audience: ''}", "tokens.audience", "must not be empty"),
        ("sessions: {idle_ttl: 40d}", "sessions.idle_ttl", "must not be longer than sessions.absolute_ttl"),
        ("sessions: {in_flight_window: 61s, late_window: 5m}", "sessions.in_flight_window", "between 0s and 60s"),
        ("sessions: {late_window: 10s}", "sessions.late_window", "must not be shorter than sessions.in_flight_window"),
        ("sessions: {canary_interval: 500ms}", "sessions.canary_interval", "must be between 1s and 1h"),
        ("sessions: {canary_interval: 61m}", "sessions.canary_interval", "must be between 1s and 1h"),
        ("sessions: {late_window: 25h}", "sessions.late_window", "must be shorter than sessions.idle_ttl"),
        ("sessions: {receipt_after: 15m}", "sessions.receipt_after", "must be shorter than tokens.access_ttl"),
        ("sessions: {reauth_after: 0}", "sessions.reauth_after", "must be longer than 0"),
        ("auth: {prefix: /}", "auth.prefix", "must start with /"),
        ("auth: {prefix: /auth/}", "auth.prefix", "must start with /"),
        ("auth: {prefix: /a/../b}", "auth.prefix", "must start with /"),
        ("auth: {cookie: {name: 'a b'}}", "auth.cookie.name", "a cookie name holds"),
        ("auth: {cookie: {name: __Host-x}}", "auth.cookie.name", "leave the prefix out"),
        ("auth: {cookie: {same_site: none, secure: false}}", "auth.cookie.same_site", "needs secure: true"),
        ("auth: {cookie: {domain: other.org}}", "auth.cookie.domain", "neither the host of server.public_url"),
        ("auth: {cookie: {domain: .a.org}}", "auth.cookie.domain", "is not a host name"),
        ("auth: {allowed_origins: ['*']}", "auth.allowed_origins[0]", "would allow every site"),
        ("auth: {allowed_origins: ['https://a.org/x']}", "auth.allowed_origins[0]", "without a path"),
        ("identity: {headers: {X-User-Id: sub, x_user.id: sid}}", "identity.headers.x_user.id", "the same header"),
        ("identity: {headers: {Connection: sub}}", "identity.headers.Connection", "a meaning of its own"),
        ("identity: {headers: {x_forwarded_for: sub}}", "identity.headers.x_forwarded_for", "a meaning of its own"),
        ("identity: {headers: {Proxy-User: sub}}", "identity.headers.Proxy-User", "a meaning of its own"),
        ("identity: {assertion: {header: X-Assertion}}", "identity.assertion.header", "not supported"),
        ("identity: {assertion: {ttl: 5s}}", "identity.assertion.ttl", "not supported"),
        ("throttle: {pair: {attempts: 3, per: 2d}}", "throttle.pair.per", "between 1s and 24h"),
        ("throttle: {longest_wait: 0}", "throttle.longest_wait", "between 1s and 24h"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused(tmp_path: Path, text: str, path: str, message: str) -> None:
    errors, _ = check(tmp_path, text)
    assert len(errors) == 1, errors
    assert errors[0][0] == path
    assert message in errors[0][1]


@pytest.mark.parametrize(
    ("route", "path", "message"),
    [
        ("name: a, match: {path: /auth}, upstream: 'http://h'", "match.path", "belongs to the gateway's own API"),
        ("name: a, match: {path: /auth/}, upstream: 'http://h'", "match.path", "belongs to the gateway's own API"),
        ("name: a, match: {path: /auth/x, host: h}, upstream: 'http://h'", "match.path", "own API"),
        ("name: a, match: {path: /.well-known/jwks.json}, upstream: 'http://h'", "match.path", "by the gateway"),
        ("name: a, match: {path: api}, upstream: 'http://h'", "match.path", "starts with /"),
        ("name: a, match: {path: '/a b'}, upstream: 'http://h'", "match.path", "URL path characters only"),
        ("name: a, match: {path: /ü}, upstream: 'http://h'", "match.path", "URL path characters only"),
        ("name: a, match: {path: '/a?b'}, upstream: 'http://h'", "match.path", "URL path characters only"),
        ("name: a, match: {path: '/a;b'}, upstream: 'http://h'", "match.path", "URL path characters only"),
        ("name: a, match: {path: /%c3%bc}, upstream: 'http://h'", "match.path", "upper-case hex"),
        ("name: a, match: {path: /%61pi}, upstream: 'http://h'", "match.path", "not percent-encoded"),
        ("name: a, match: {path: /a%2Fb}, upstream: 'http://h'", "match.path", "would never match"),
        ("name: a, match: {path: /a//b}, upstream: 'http://h'", "match.path", "would never match"),
        ("name: a, match: {path: /a/../b}, upstream: 'http://h'", "match.path", "would never match"),
        ("name: a, match: {path: /a, host: 'http://h'}, upstream: 'http://h'", "match.host", "a name only"),
        ("name: a, match: {path: /a, host: 'h:80'}, upstream: 'http://h'", "match.host", "without its port"),
        ("name: a, match: {path: /a, host: 'a.*'}, upstream: 'http://h'", "match.host", "*.example.com"),
        ("name: a, match: {path: /a, methods: []}, upstream: 'http://h'", "match.methods", "must not be an empty list"),
        ("name: a, match: {path: /a, methods: [CONNECT]}, upstream: 'http://h'", "match.methods[0]", "never forwarded"),
        ("name: a, match: {path: /a, methods: ['G T']}, upstream: 'http://h'", "match.methods[0]", "not an HTTP"),
        ("name: 'a b', match: {path: /a}, upstream: 'http://h'", "name", "letters, digits"),
        ("name: a, match: {path: /a}, upstream: 'http://u:hunter2@h'", "upstream", "user name or password"),
        ("name: a, match: {path: /a}, upstream: 'http://h/?q=1'", "upstream", "query or fragment"),
        ("name: a, match: {path: /a}, upstream: 'ftp://h'", "upstream", "must be an absolute URL"),
        ("name: a, match: {path: /a}, upstream: 'h:80'", "upstream", "must be an absolute URL"),
        ("name: a, match: {path: /a}, upstream: 'http://h/a/../b'", "upstream", "would never match"),
        ("name: a, match: {path: /a}, upstream: []", "upstream", "must not be an empty list"),
        ("name: a, match: {path: /a}, upstream: 'http://localhost:8080'", "upstream", "the gateway itself"),
        ("name: a, match: {path: /a}, upstream: [{url: 'http://h'}, {url: 'http://h'}]", "upstream[1].url", "twice"),
        ("name: a, match: {path: /a}, upstream: [{url: 'http://h', weight: 0}]", "upstream[0].weight", "at least 1"),
        ("name: a, match: {path: /a}, upstream: 'unix://run/x'", "upstream", "unix:///path/of/socket"),
        ("name: a, match: {path: /a}, upstream: 'unix:///'", "upstream", "unix:///path/of/socket"),
        ("name: a, match: {path: /a}, upstream: 'unix:///run/x:base'", "upstream", "starts with /"),
        (f"name: a, match: {{path: /a}}, upstream: 'unix:///{'x' * 107}'", "upstream", "at most 107"),
        (GOOD + ", credentials: [cookie]", "credentials", "cookie is not supported"),
        (GOOD + ", credentials: []", "credentials", "must not be an empty list"),
        (GOOD + ", require: {mfa: true}", "require.mfa", "not supported"),
        (GOOD + ", require: {roles: ['a,b']}", "require.roles[0]", "without commas"),
        (GOOD + ", require: {roles: [a]}, auth: optional", "require.roles", "only asked for with auth: required"),
        (GOOD + ", auth: none, revocation: strict", "revocation", "has no effect with auth: none"),
        (GOOD + ", auth: none, passive: true", "passive", "has no effect with auth: none"),
        (GOOD + ", auth: public", "auth", "must be one of required, optional, none"),
        (GOOD + ", health: {path: up}", "health.path", "starts with /"),
        (GOOD + ", health: {path: /up, interval: 0}", "health.interval", "between 10ms and 24h"),
        (GOOD + ", health: {path: /up, timeout: 25h}", "health.timeout", "between 10ms and 24h"),
        (GOOD + ", health: {path: /up, expect: [600]}", "health.expect[0]", "at most 599"),
        (GOOD + ", health: {path: /up, healthy_after: 0}", "health.healthy_after", "at least 1"),
        (GOOD + ", breaker: {failures: 0}", "breaker.failures", "at least 1"),
        (GOOD + ", breaker: {open_for: 0}", "breaker.open_for", "between 10ms and 24h"),
        (GOOD + ", breaker: {open_for: 2m}", "breaker.longest", "between open_for and 24h"),
        (GOOD + ", breaker: {statuses: [99]}", "breaker.statuses[0]", "at least 200"),
        (GOOD + ", upstream_tls: {ca_file: /nowhere/ca.pem}", "upstream_tls", "without an https upstream"),
        (SECURE + ", upstream_tls: {ca_file: /nowhere/ca.pem}", "upstream_tls.ca_file", "cannot be read: No such"),
        (SECURE + ", upstream_tls: {cert_file: /nowhere/c.pem}", "upstream_tls.cert_file", "cannot be read: No such"),
        (SECURE + ", upstream_tls: {key_file: /nowhere/key.pem}", "upstream_tls.key_file", "needs cert_file"),
        (SECURE + ", upstream_tls: {server_name: 'a b'}", "upstream_tls.server_name", "is not a host name"),
        (SECURE + ", upstream_tls: {verify: false}", "upstream_tls.verify", "unknown key"),
        (GOOD + ", timeouts: {connect: 0}", "timeouts.connect", "between 1ms and 24h"),
        (GOOD + ", limits: {rate: {requests: 0, per: 1m}}", "limits.rate.requests", "must be at least 1"),
        (GOOD + ", limits: {rate: {requests: 1, per: 0}}", "limits.rate.per", "between 100ms and 24h"),
        (GOOD + ", limits: {body: 5}", "limits.body", "5 is not a size"),
        (GOOD + ", retries: 9", "retries", "must be at most 5"),
        ("name: a, match: {path: /a}, strip_prefix: true, upstream: 'http://h'", "strip_prefix", "ends in /"),
    ],
)  # fmt: skip
def test_a_route_that_cannot_be_used_is_refused(tmp_path: Path, route: str, path: str, message: str) -> None:
    errors, _ = check(tmp_path, routes(route))
    assert len(errors) == 1, errors
    assert errors[0][0] == f"routes[0].{path}"
    assert message in errors[0][1]
    assert "hunter2" not in errors[0][1]


def test_upstream_tls_files_must_fit(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    one, two = authority.issue("one.test"), authority.issue("two.test")
    locked = authority.issue("locked.test", password=b"hunter2-hunter2")
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("nothing")
    belong = "are no PEM certificate and unencrypted key that belong together"
    for tls, key, message in (
        ({"ca_file": garbage}, "ca_file", f"{garbage}: is no PEM file of certificates"),
        ({"ca_file": tmp_path}, "ca_file", f"{tmp_path}: "),
        ({"cert_file": one[0], "key_file": two[1]}, "cert_file", f"{one[0]} with {two[1]}: {belong}"),
        ({"cert_file": locked[0], "key_file": locked[1]}, "cert_file", belong),
        ({"cert_file": one[0]}, "cert_file", belong),
    ):
        text = ", ".join(f"{name}: '{path}'" for name, path in tls.items())
        errors, _ = check(tmp_path, routes(SECURE + f", upstream_tls: {{{text}}}"))
        assert [path for path, _ in errors] == [f"routes[0].upstream_tls.{key}"]
        assert message in errors[0][1]
    good = f"ca_file: '{authority.ca_file}', cert_file: '{one[0]}', key_file: '{one[1]}', server_name: h.test"
    assert check(tmp_path, routes(SECURE + f", upstream_tls: {{{good}}}")) == ([], [])


def test_routes_with_the_same_match_or_name_are_refused(tmp_path: Path) -> None:
    errors, _ = check(
        tmp_path,
        routes(
            "name: a, match: {path: /x/}, upstream: 'http://h'",
            "name: b, match: {path: /x/}, upstream: 'http://h'",
            "name: b, match: {path: /y/}, upstream: 'http://h'",
            "name: c, match: {path: /z/, host: h, methods: [GET, POST]}, upstream: 'http://h'",
            "name: d, match: {path: /z/, host: H, methods: [POST]}, upstream: 'http://h'",
        ),
    )
    assert errors == [
        ("routes[1].match", "routes[0] matches the same requests"),
        ("routes[2].name", "'b' is the name of routes[1] too"),
        ("routes[4].match", "routes[3] matches the same requests"),
    ]


def test_routes_that_differ_in_host_method_or_slash_stand_beside_each_other(tmp_path: Path) -> None:
    found = check(
        tmp_path,
        routes(
            "name: a, match: {path: /x/}, upstream: 'http://h/base'",
            "name: b, match: {path: /x}, upstream: 'https://h'",
            "name: c, match: {path: /x/, host: '*.example.com'}, upstream: 'http://h'",
            "name: d, match: {path: /x/, methods: [GET]}, upstream: 'http://h'",
            "name: e, match: {path: /x/, methods: [POST]}, upstream: 'http://h'",
            "name: f, match: {path: /}, auth: none, upstream: 'http://[::1]:9000'",
            "name: g, match: {path: /authors/}, upstream: 'http://h'",
            "name: h, match: {path: /h/}, upstream: [{url: 'http://h', weight: 3}, {url: 'unix:///run/h.sock:/base'}]",
            "name: i, match: {path: /i/}, upstream: 'http://h', breaker: null, health: {path: /up}",
        ),
    )
    assert found == ([], [])


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("server: {admin_listen: '0.0.0.0:9090'}", "server.admin_listen"),
        ("server: {trusted_proxies: [0.0.0.0/0]}", "server.trusted_proxies[0]"),
        ("server: {proxy_protocol: ['::/0']}", "server.proxy_protocol[0]"),
        ("server: {listen: 'unix:/run/x.sock'}", "server.listen"),
        ("server: {public_url: 'https://a.org'}\nauth: {cookie: {secure: false}}", "auth.cookie.secure"),
        ("server: {public_url: 'http://a.org'}", "server.public_url"),
        (f"storage: {{database: 'postgresql://u@db.internal/d', {KEY}}}", "storage.database"),
        (f"storage: {{database: 'postgresql://u@127.0.0.1,h2:5433/d?sslmode=require', {KEY}}}", "storage.database"),
        (f"storage: {{database: 'postgresql:///d?host=db.internal', {KEY}}}", "storage.database"),
    ],
)
def test_what_is_hardly_meant_is_a_warning(tmp_path: Path, text: str, path: str) -> None:
    errors, warnings = check(tmp_path, text)
    assert errors == []
    assert [warning[0] for warning in warnings] == [path]


@pytest.mark.parametrize(
    "text",
    [
        "server: {public_url: 'http://localhost:3000'}",
        "server: {public_url: 'http://app.localhost'}",
        "server: {public_url: 'http://a.org'}\nauth: {cookie: {secure: false}}",
        "server: {public_url: 'https://www.a.org'}\nauth: {cookie: {domain: a.org, same_site: none}}",
        "auth: {allowed_origins: ['https://APP.example.com:443', 'http://localhost:5173']}",
        "storage: {database: 'memory:'}",
        f"storage: {{database: 'postgresql://u:p@h1,h2:5433/d?sslmode=verify-full', {KEY}}}",
        f"storage: {{database: 'postgres://u@[::1]:5432/d?pgbouncer=true', {KEY}, pool: 50}}",
        f"storage: {{database: 'postgresql:///d?host=/run/postgresql', {KEY}}}",
        f"storage: {{database: 'postgresql://u@localhost/?dbname=d', {KEY}}}",
        "server: {admin_listen: null}",
        "server: {admin_listen: 'unix:/run/a.sock', trusted_proxies: [unix], proxy_protocol: [unix, 10.0.0.5]}",
        GOOD_ROUTE_WITH_LIMITS,
        "sessions: {in_flight_window: 0, late_window: 0, receipt_after: 0}",
    ],
)
def test_what_is_right_passes_without_a_word(tmp_path: Path, text: str) -> None:
    assert check(tmp_path, text) == ([], [])


@pytest.mark.parametrize(
    ("endpoint", "warned"), [("http://127.0.0.1:4318", False), ("https://otlp.test", False), ("http://otlp.test", True)]
)
def test_the_collectors_key_in_the_clear_is_warned_of(tmp_path: Path, endpoint: str, warned: bool) -> None:
    errors, warnings = check(tmp_path, f"tracing: {{endpoint: '{endpoint}', headers: 'x-api-key=k'}}\n" + routes(GOOD))
    assert errors == []
    assert [path for path, _ in warnings if path == "tracing.endpoint"] == ["tracing.endpoint"] * warned
