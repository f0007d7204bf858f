"""Bad configurations: each is refused by the process itself, with every problem, before it listens anywhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROUTE = "  - {{name: {name}, match: {{path: {path}}}, upstream: '{upstream}'}}\n"


def route(name: str = "a", path: str = "/a/", upstream: str = "http://127.0.0.1:9") -> str:
    return ROUTE.format(name=name, path=path, upstream=upstream)


EXPLODING = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)

ROWS = {
    "unknown key": ("server: {lisen: x}\n", 1, "did you mean 'listen'?"),
    "duplicate key": ("tokens: {}\nserver: {}\ntokens: {}\n", 3, "written twice"),
    "wrong type": ("sessions:\n  max_per_user: lots\n", 2, "must be a whole number"),
    "sexagesimal": ("sessions:\n  idle_ttl: 12:30\n", 2, "is not a duration"),
    "anchors that explode": (EXPLODING, 5, "expands to more than"),
    "anchor inside itself": ("a: &a {b: *a}\n", 1, "inside its own"),
    "deep nesting": ("a: " + "[" * 5000 + "\n", 1, "levels deep"),
    "a tag that runs code": ("a: !!python/object/apply:os.system ['true']\n", 1, "not supported"),
    "unreadable secret file": ("storage:\n  database_file: /nonexistent/secret\n", 2, "cannot read"),
    "upstream with credentials": ("routes:\n" + route(upstream="http://root:hunter2@h"), 2, "user name or password"),
    "colliding identity headers": ("identity:\n  headers:\n    X-Id: sub\n    x_id: sid\n", 4, "the same header"),
    "hop-by-hop identity header": ("identity: {headers: {Connection: sub}}\n", 1, "a meaning of its own"),
    "the same match twice": ("routes:\n" + route() + route("b"), 3, "matches the same requests"),
    "reserved prefix": ("routes:\n" + route(path="/auth/"), 2, "the gateway's own API"),
    "reserved document": ("routes:\n" + route(path="/.well-known/jwks.json"), 2, "by the gateway itself"),
    "any origin": ("auth: {allowed_origins: ['*']}\n", 1, "would allow every site"),
}


@pytest.mark.parametrize(("text", "line", "message"), ROWS.values(), ids=ROWS)
def test_a_bad_configuration_is_refused_with_its_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    (tmp_path / "gateway.yaml").write_text(text)
    result = serve(tmp_path)
    assert result.returncode == 78
    assert result.stdout == ""
    first = result.stderr.splitlines()[0]
    assert first.startswith(f"gateway.yaml:{line}:")
    assert message in first
    assert "hunter2" not in result.stderr
    assert "Traceback" not in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["gateway.yaml"], "nothing was made before the refusal"


def test_all_of_them_are_told_at_once(tmp_path: Path) -> None:
    texts = [
        "server: {lisen: x}\n",
        "sessions: {max_per_user: lots, idle_ttl: 12:30}\n",
        "storage: {database_file: /nonexistent/secret}\n",
        "identity: {headers: {X-Id: sub, x_id: sid}}\n",
        "routes:\n",
        route(upstream="http://root:hunter2@h"),
        route(path="/auth/"),
    ]
    (tmp_path / "gateway.yaml").write_text("".join(texts))
    result = serve(tmp_path)
    lines = result.stderr.splitlines()
    assert [int(line.split(":")[1]) for line in lines[:-1]] == [1, 2, 2, 3, 4, 6, 7, 7]
    assert lines[-1] == "gateway: 8 problems in the configuration"


def serve(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway", "serve"],
        capture_output=True, text=True, timeout=60, cwd=folder, check=False, env={"PATH": ""},
    )  # fmt: skip
