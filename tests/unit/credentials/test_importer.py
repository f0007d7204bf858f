"""Import of users with the hashes they have."""

from __future__ import annotations

import io
import json

import pytest
from support.credentials import CredentialBench

from gateway.credentials import importer as importer_module
from gateway.credentials.import_rows import MAX_LINE, ImportFormat
from gateway.credentials.importer import Importer, ImportReport
from gateway.errors import InvalidRequest, StoreUnavailable

BCRYPT = "$2b$04$cVWp4XaNU8a4v1uMRum2SO026BWLIoQMD/TXg5uZV.0P.uO8m3YEm"
BCRYPT_PASSWORD = "Kk4DQuMMfZL9o"
DJANGO = "pbkdf2_sha256$10000$kjVJaVz6qsnJ$5yPHw3rwJGECpUf70daLGhOrQ5+AMxIJdz1c3bqK1Rs="


async def run(bench: CredentialBench, text: str, form: ImportFormat = ImportFormat.CSV, **how: bool) -> ImportReport:
    """Import `text`."""
    return await Importer(bench.users, **how).run(io.StringIO(text), form)


def told(report: ImportReport) -> dict[int, str]:
    """The problems by line."""
    return {problem.line: problem.detail for problem in report.problems}


async def names(bench: CredentialBench) -> list[str]:
    """The stored names."""
    return [user.username async for user in bench.users.list_users()]


async def test_csv_with_every_column(bench: CredentialBench) -> None:
    report = await run(
        bench,
        "\ufeffUsername, roles,email,password_hash,disabled\n"
        f"Alice,admin;dev,a@example.com,{BCRYPT},false\n"
        "\n"
        f'"Bob ""B"" Jones",dev ops,,{DJANGO},yes\n'
        "carol,,,,\n",
    )
    assert (report.rows, report.imported, report.problems) == (3, 3, [])
    alice, bob, carol = [user async for user in bench.users.list_users()]
    assert (alice.username, alice.roles, alice.email, alice.active) == (
        "Alice",
        ("admin", "dev"),
        "a@example.com",
        True,
    )
    assert (bob.username, bob.roles, bob.email, bob.active) == ('Bob "B" Jones', ("dev", "ops"), None, False)
    assert (carol.password_hash, carol.active) == (None, True)


async def test_an_imported_user_logs_in_and_is_upgraded(bench: CredentialBench) -> None:
    await run(bench, f"username,password_hash\nalice,{BCRYPT}\n")
    assert (await bench.authenticator.authenticate("alice", BCRYPT_PASSWORD)).username == "alice"
    stored = (await bench.users.find("alice")).password_hash
    assert stored is not None
    assert stored.startswith("$argon2id$")
    assert await bench.authenticator.authenticate("alice", BCRYPT_PASSWORD)


async def test_json_lines(bench: CredentialBench) -> None:
    rows = [
        {"username": "alice", "password_hash": BCRYPT, "email": "a@example.com", "roles": ["x", "y"], "disabled": True},
        {"username": "bob", "roles": "x;y", "disabled": None, "email": None},
    ]
    report = await run(bench, "\n".join(map(json.dumps, rows)), ImportFormat.JSONL)
    assert (report.imported, report.problems) == (2, [])
    alice, bob = [user async for user in bench.users.list_users()]
    assert (alice.roles, alice.active, bob.roles, bob.active) == (("x", "y"), False, ("x", "y"), True)


async def test_bad_csv_rows_stop_no_good_ones(bench: CredentialBench) -> None:
    await bench.users.add("taken", None)
    report = await run(
        bench,
        "username,password_hash,disabled\n"
        f"first,{BCRYPT},\n"
        "crypt,$6$salt$digest,\n"
        "plain,hunter2,\n"
        f"FIRST,{BCRYPT},\n"
        f"TAKEN,{BCRYPT},\n"
        f"'',{BCRYPT}\n"
        f'"open,{BCRYPT},\n'
        f",{BCRYPT},\n"
        f"perhaps,{BCRYPT},perhaps\n"
        f"{'x' * MAX_LINE},{BCRYPT},\n"
        f"odd\udcff,{BCRYPT},\n"
        f"last,{BCRYPT},\n",
    )
    assert await names(bench) == ["first", "last", "taken"]
    assert (report.rows, report.imported) == (12, 2)
    problems = told(report)
    assert list(problems) == [3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
    assert problems[3].startswith("hash scheme sha512_crypt is not supported")
    assert problems[4].startswith("password hash: format not recognised")
    assert problems[5] == "the same user name as line 2"
    assert problems[6] == "a user with this name exists"
    assert problems[7] == "2 cells where the header has 3"
    assert problems[8].startswith("not CSV")
    assert problems[9] == "user name: must not be empty"
    assert problems[10] == "disabled: must be true or false"
    assert problems[11] == f"longer than {MAX_LINE} characters"
    assert problems[12] == "not UTF-8"
    assert not any("hunter2" in detail for detail in problems.values())


async def test_bad_json_lines_stop_no_good_ones(bench: CredentialBench) -> None:
    lines = [
        '{"username": "first"}',
        "{",
        "[1, 2]",
        '{"username": "a", "username": "b"}',
        '{"username": "a", "password": "hunter2"}',
        '{"username": 7}',
        '{"username": "a", "roles": [1]}',
        '{"username": "a", "roles": {"admin": true}}',
        '{"username": "a", "disabled": 1}',
        '{"username": "\\ud800"}',
        "[" * 5000,
        '{"username": "last"}',
    ]
    report = await run(bench, "\n".join(lines) + "\n", ImportFormat.JSONL)
    assert await names(bench) == ["first", "last"]
    problems = told(report)
    assert list(problems) == list(range(2, 12))
    assert (problems[2], problems[3], problems[4]) == ("not JSON", "not a JSON object", "a key twice")
    assert problems[5].startswith("unknown keys")
    assert problems[6] == "username: must be text"
    assert problems[7] == problems[8] == "roles: must be text or a list of texts"
    assert problems[11] == "not JSON"


@pytest.mark.parametrize(
    "text",
    ["", "\n", "name,email\n", "username,password\n", "username,email,email\n", '"username\n', "username\udcff\n",
     "x" * (MAX_LINE + 1)],
)  # fmt: skip
async def test_a_header_that_cannot_be_read_is_an_error(bench: CredentialBench, text: str) -> None:
    with pytest.raises(InvalidRequest, match="line 1"):
        await run(bench, text)


async def test_a_dry_run_finds_the_same_problems_and_stores_nothing(bench: CredentialBench) -> None:
    await bench.users.add("taken", None)
    text = "username\nalice\nTaken\nALICE\nbo\tb\n"
    rehearsal = await run(bench, text, dry_run=True)
    assert await names(bench) == ["taken"]
    real = await run(bench, text)
    assert rehearsal == real
    assert list(told(real)) == [3, 4, 5]


async def test_progress_is_told_and_a_long_file_is_imported_whole(
    bench: CredentialBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importer_module, "BATCH", 4)
    steps: list[int] = []
    importer = Importer(bench.users, progress=lambda report: steps.append(report.imported))
    await importer.run(io.StringIO("username\n" + "".join(f"u{n:02}\n" for n in range(10))), ImportFormat.CSV)
    assert steps == [4, 8, 10]
    assert len(await names(bench)) == 10


async def test_an_outage_ends_the_import_and_the_report_stays_true(
    bench: CredentialBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importer_module, "BATCH", 2)
    add = bench.stores.users.add
    left = [0] * 3

    async def fail_later(user: object) -> None:
        if not left:
            raise StoreUnavailable(debug="disk full")
        left.pop()
        await add(user)  # type: ignore[arg-type]

    monkeypatch.setattr(bench.stores.users, "add", fail_later)
    importer = Importer(bench.users)
    with pytest.raises(StoreUnavailable):
        await importer.run(io.StringIO("username\na\nb\nc\nd\ne\n"), ImportFormat.CSV)
    assert importer.report.imported == len(await names(bench)) == 3


def test_the_format_is_told_by_the_ending() -> None:
    assert ImportFormat.of("users.CSV") is ImportFormat.CSV
    assert ImportFormat.of("a.b.jsonl") is ImportFormat.of("x.ndjson") is ImportFormat.JSONL
    with pytest.raises(InvalidRequest):
        ImportFormat.of("users.xlsx")
