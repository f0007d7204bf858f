"""Layers, places and the whole of the problems at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import CannotStart
from gateway.settings.loader import ConfigError, Loaded, Problem, load

ROUTE = "routes:\n  - {name: api, match: {path: /api/}, upstream: http://127.0.0.1:9000}\n"
Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(text: str) -> Path:
        path = tmp_path / "gateway.yaml"
        path.write_text(text)
        return path

    return to_file


def problems(path: Path | None, env: Mapping[str, str] | None = None, **overrides: Any) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        load(path, env or {}, overrides)
    return caught.value.problems


def test_no_file_is_the_embedded_defaults() -> None:
    loaded = load(None, {})
    assert loaded.settings.routes == ()
    assert loaded.settings.server.listen == "127.0.0.1:8080"
    assert loaded.settings.issuer == "http://127.0.0.1:8080"
    assert (loaded.source, loaded.warnings) == (None, ())


def test_a_file_with_nothing_but_routes_is_enough(write: Write) -> None:
    route = load(write(ROUTE), {}).settings.routes[0]
    assert (route.name, route.match.path, route.auth) == ("api", "/api/", "required")
    assert [upstream.url for upstream in route.upstream] == ["http://127.0.0.1:9000"]
    assert (route.timeouts.response, route.limits.body, route.retries) == (30.0, 104857600, 1)


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "server:\nroutes:\n", "routes: []\n"])
def test_an_empty_file_or_section_is_the_defaults(write: Write, text: str) -> None:
    assert load(write(text), {}).settings == load(None, {}).settings


def test_each_layer_wins_over_the_one_below(write: Write) -> None:
    path = write("tokens: {audience: file, access_ttl: 5m}\nserver: {listen: 127.0.0.1:1}\nlogging: {level: error}\n")
    env = {
        "GATEWAY__TOKENS__AUDIENCE": "env",
        "GATEWAY__SERVER__LISTEN": "127.0.0.1:2",
        "HOME": "/",
        "GATEWAY_CONFIG": "x",
    }
    loaded = load(path, env, {"server.listen": "127.0.0.1:3"})
    settings = loaded.settings
    assert (settings.server.listen, settings.tokens.audience, settings.tokens.access_ttl) == (
        "127.0.0.1:3",
        "env",
        300.0,
    )
    assert loaded.origins["server", "listen"] == "command line"
    assert loaded.origins["tokens", "audience"] == "GATEWAY__TOKENS__AUDIENCE"
    assert loaded.origins["tokens", "access_ttl"] == str(path)
    assert ("tokens", "issuer") not in loaded.origins


def test_environment_values_take_the_type_of_the_setting(write: Write) -> None:
    env = {
        "GATEWAY__AUTH__COOKIE__SECURE": "false",
        "GATEWAY__LOGGING__EVENTS_KEEP": "7",
        "GATEWAY__TOKENS__AUDIENCE": "123",
        "GATEWAY__SERVER__ADMIN_LISTEN": "null",
        "GATEWAY__SERVER__TRUSTED_PROXIES": '["10.0.0.0/8"]',
        "GATEWAY__SESSIONS__BINDING": '{"device": "off"}',
        "GATEWAY__SESSIONS__REAUTH_AFTER": "12h",
        "GATEWAY__IDENTITY__HEADERS": '{"X-Me": "sub"}',
        "GATEWAY__ROUTES": '[{"name": "a", "match": {"path": "/"}, "upstream": "http://b"}]',
    }
    settings = load(None, env).settings
    assert settings.auth.cookie.secure is False
    assert (settings.auth.cookie.name, settings.logging.events_keep) == ("gw_refresh", 7)
    assert (settings.tokens.audience, settings.server.admin_listen) == ("123", None)
    assert settings.server.trusted_proxies == ("10.0.0.0/8",)
    assert (settings.sessions.binding.device, settings.sessions.binding.ip) == ("off", "alert")
    assert settings.sessions.reauth_after == 43200.0
    assert settings.identity.headers == {"X-Me": "sub"}
    assert settings.routes[0].name == "a"


@pytest.mark.parametrize(
    ("name", "value", "message", "hint"),
    [
        ("GATEWAY__SERVR__LISTEN", "x", "unknown key 'servr'", "did you mean 'server'?"),
        ("GATEWAY__SERVER__LISTN", "x", "unknown key 'listn'", "did you mean 'listen'?"),
        ("GATEWAY__ROUTES", "[{", "must be JSON", None),
        ("GATEWAY__AUTH__COOKIE__SECURE", "yes", "must be true or false, not 'yes'", "write true"),
        ("GATEWAY__LOGGING__EVENTS_KEEP", "many", "must be a whole number, not 'many'", None),
        ("GATEWAY__SERVER__LISTEN__PORT", "1", "nothing can be set below this key", "as JSON"),
        ("GATEWAY__ROUTES__0__NAME", "a", "unknown key '0'", None),
        ("GATEWAY__", "a", "unknown key ''", None),
    ],
)
def test_a_wrong_variable_is_named(name: str, value: str, message: str, hint: str | None) -> None:
    (problem,) = problems(None, {name: value})
    assert (problem.source, problem.line) == (name, None)
    assert message in problem.message
    assert hint is None or hint in str(problem.hint)


def test_all_problems_come_at_once_with_path_and_line(write: Write) -> None:
    path = write(
        "server:\n"  # 1
        "  lisen: 127.0.0.1:80\n"  # 2
        "  workers: 1000\n"  # 3
        "tokens:\n"  # 4
        "  access_ttl: 15\n"  # 5
        "tokens: {}\n"  # 6
        "routes:\n"  # 7
        "  - name: a\n"  # 8
        "    match: {path: /auth/x}\n"  # 9
        "    upstream: http://user:pw@host\n"  # 10
        "  - match: {path: /b, methods: [get]}\n"  # 11
        "    upstream: http://host\n"  # 12
        "    retires: 3\n"  # 13
    )
    found = problems(path, {"GATEWAY__AUTH__PREFX": "/x"})
    assert [(problem.path, problem.line) for problem in found] == [
        ("server.lisen", 2),
        ("server.workers", 3),
        ("tokens.access_ttl", 5),
        ("tokens", 6),
        ("routes[0].match.path", 9),
        ("routes[0].upstream", 10),
        ("routes[1].name", 11),
        ("routes[1].match.methods[0]", 11),
        ("routes[1].retires", 13),
        ("auth.prefx", None),
    ]
    assert all(problem.source == str(path) for problem in found[:-1])
    assert found[0].hint == "did you mean 'listen'?"
    assert str(found[0]).startswith(f"{path}:2:3: server.lisen: unknown key")
    assert "pw" not in "".join(str(problem) for problem in found)


def test_no_check_is_raised_about_a_default_that_stands_in_for_a_bad_value(write: Write) -> None:
    (problem,) = problems(write("tokens: {access_ttl: soon}\nsessions: {idle_ttl: 10m, receipt_after: 50s}\n"))
    assert problem.path == "tokens.access_ttl"


def test_a_broken_route_hides_neither_its_neighbours_nor_their_places(write: Write) -> None:
    lines = "".join(f"  - {{name: r{n}, match: {{path: /p{n}/}}, upstream: http://h, oops: 1}}\n" for n in range(12))
    found = problems(write(f"routes:\n{lines}  - {{name: r0, match: {{path: /auth}}, upstream: http://h}}\n  - 5\n"))
    assert [problem.path for problem in found[:12]] == [f"routes[{n}].oops" for n in range(12)]
    assert [(problem.path, problem.line) for problem in found[12:]] == [
        ("routes[12].name", 14),
        ("routes[12].match.path", 14),
        ("routes[13]", 15),
    ]


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("- a\n", "", "must be a mapping of sections"),
        ("just text\n", "", "must be a mapping of sections"),
        ("server: 5\n", "server", "must be a mapping (key: value), not 5"),
        ("server: []\n", "server", "must be a mapping (key: value), not a list"),
        ("routes: {a: 1}\n", "routes", "must be a list, not a mapping"),
        ("routes: [5]\n", "routes[0]", "must be a mapping (key: value), not 5"),
        ("server: {listen: 8080}\n", "server.listen", "must be text, not 8080"),
        ("server: {listen: }\n", "server.listen", "must be text, not empty"),
        ("server: {trusted_proxies: 10.0.0.0/8}\n", "server.trusted_proxies", "must be a list, not '10.0.0.0/8'"),
        ("auth: {cookie: {secure: yes}}\n", "auth.cookie.secure", "must be true or false, not 'yes'"),
        ("auth: {cookie: {secure: 1}}\n", "auth.cookie.secure", "must be true or false, not 1"),
        ("auth: {cookie: }\n", "auth.cookie", "must be a mapping (key: value), not empty"),
        ("sessions: {max_per_user: many}\n", "sessions.max_per_user", "must be a whole number, not 'many'"),
        ("sessions: {max_per_user: 0}\n", "sessions.max_per_user", "must be at least 1, not 0"),
        ("sessions: {max_per_user: 99999999}\n", "sessions.max_per_user", "must be at most 10000, not 99999999"),
        ("sessions: {max_per_user: true}\n", "sessions.max_per_user", "must be a whole number, not true"),
        ("sessions: {idle_ttl: 12:30}\n", "sessions.idle_ttl", "'12:30' is not a duration"),
        ("sessions: {on_reuse: revoke_usr}\n", "sessions.on_reuse", "must be one of revoke_user, revoke_session"),
        ("tokens: {algorithm: HS256}\n", "tokens.algorithm", "must be one of EdDSA, ES256, RS256, not 'HS256'"),
        ("identity: {headers: {X-A: mail}}\n", "identity.headers.X-A", "must be one of sub, username, email, "),
        ("identity: {headers: [X-A]}\n", "identity.headers", "must be a mapping (key: value), not a list"),
        ("identity: {headers: {'X A': sub}}\n", "identity.headers.X A", "is not a header name"),
        ("server: {admin_token: a}\n", "server.admin_token", "must have at least 32 characters"),
        (f"server: {{admin_token: {'a ' * 20}}}\n", "server.admin_token", "letters, digits and -._~+/ only"),
        (f"server: {{admin_token: {'a' * 513}}}\n", "server.admin_token", "512 characters at most"),
        ("server: {tls: {cert_file: a}}\n", "server.tls.key_file", "is required but missing"),
        ("server: {proxy_protocol: unix}\n", "server.proxy_protocol", "must be a list"),
        ("risk: {}\n", "risk", "not supported by this version"),
        ("throttle: {pair: {attempts: 3}}\n", "throttle.pair.per", "is required but missing"),
        ("a: &a [*a]\n", "", "is inside its own"),
    ],
)  # fmt: skip
def test_wrong_shapes_are_told_in_plain_words(write: Write, text: str, path: str, message: str) -> None:
    (problem,) = problems(write(text))
    assert problem.path == path
    assert message in problem.message
    assert problem.line == 1


def test_a_file_that_is_no_text_or_too_large_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_bytes(b"server:\n  listen: \xff\n")
    assert [(problem.line, problem.message) for problem in problems(path)] == [(2, "the file is not UTF-8 text")]
    path.write_bytes(b"#" * (1024 * 1024 + 1))
    assert "larger than" in problems(path)[0].message


def test_a_byte_order_mark_is_no_problem(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_bytes(b"\xef\xbb\xbfrequests: 1\n".replace(b"requests: 1", b"logging: {level: error}"))
    assert load(path, {}).settings.logging.level == "error"


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_a_missing_or_unreadable_file_cannot_start(tmp_path: Path, name: str) -> None:
    with pytest.raises(CannotStart, match="configuration file"):
        load(tmp_path / name, {})


def test_a_secret_is_read_from_its_file(write: Write, tmp_path: Path) -> None:
    (tmp_path / "url").write_text("sqlite:////data/x.db\n")
    loaded = load(write(f"storage: {{database_file: {tmp_path}/url}}\n"), {})
    assert loaded.settings.storage.database == "sqlite:////data/x.db"


def test_a_later_layer_wins_over_an_earlier_secret_file(write: Write, tmp_path: Path) -> None:
    (tmp_path / "url").write_text("sqlite:///file.db")
    path = write(f"storage: {{database_file: {tmp_path}/url}}\n")
    assert (
        load(path, {"GATEWAY__STORAGE__DATABASE": "sqlite:///env.db"}).settings.storage.database == "sqlite:///env.db"
    )
    above = {"GATEWAY__STORAGE__DATABASE_FILE": f"{tmp_path}/url"}
    assert load(write("storage: {database: sqlite:///x.db}"), above).settings.storage.database == "sqlite:///file.db"


@pytest.mark.parametrize("key", ["DATABASE", "DATABASE_FILE"])
def test_a_secret_file_that_a_later_layer_replaces_need_not_exist(write: Write, tmp_path: Path, key: str) -> None:
    (tmp_path / "url").write_text("sqlite:///there.db")
    value = f"{tmp_path}/url" if key == "DATABASE_FILE" else "sqlite:///there.db"
    path = write(f"storage: {{database_file: {tmp_path}/not-there}}\n")
    assert load(path, {f"GATEWAY__STORAGE__{key}": value}).settings.storage.database == "sqlite:///there.db"


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot read"), (b"", "is empty"), (b"\xff", "is not text"), (b"a" * 70000, "larger")],
)
def test_an_unreadable_secret_file_is_a_problem(
    write: Write, tmp_path: Path, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "url").write_bytes(content)
    (problem,) = problems(write(f"storage:\n  database_file: {tmp_path}/url\n"))
    assert (problem.path, problem.line) == ("storage.database_file", 2)
    assert message in problem.message


def test_a_secret_twice_in_one_layer_is_a_problem(write: Write) -> None:
    (problem,) = problems(write("storage: {database: sqlite:///a.db, database_file: /b}\n"))
    assert "both set" in problem.message


def test_a_bad_secret_is_not_repeated_in_the_message() -> None:
    found = problems(
        None,
        {"GATEWAY__STORAGE__DATABASE": "mysql://root:hunter2@h/db", "GATEWAY__STORAGE__REDIS": "mysql://:hunter2@h"},
    )
    assert len(found) == 2
    assert "hunter2" not in "".join(map(str, found))


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        ("127.0.0.1:9999", "http://127.0.0.1:9999"),
        ("0.0.0.0:80", "http://127.0.0.1:80"),
        (":8081", "http://127.0.0.1:8081"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("127.0.0.1:0", "http://127.0.0.1:8080"),
    ],
)
def test_the_public_url_follows_the_listener(listen: str, url: str) -> None:
    assert load(None, {}, {"server.listen": listen}).settings.server.public_url == url.removesuffix(":80")


def test_a_public_url_that_was_set_stays() -> None:
    loaded: Loaded = load(None, {"GATEWAY__SERVER__PUBLIC_URL": "https://Example.com:443/"}, {"server.listen": ":9"})
    assert loaded.settings.server.public_url == "https://example.com"
