"""Tables and JSON on stdout."""

from __future__ import annotations

import pytest

from gateway.cli import output


def test_a_plain_table_is_aligned_and_has_no_colour(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(("name", "roles"), [("[bold]", None), ("b\x1b[31m", "x")])
    assert capsys.readouterr().out == "name       roles\n[bold]     -\nb\\x1b[31m  x\n"


def test_without_rows_the_sentence_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(("name",), [], empty="nobody")
    assert capsys.readouterr() == ("", "nobody\n")


def test_a_terminal_gets_a_table_without_markup(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "on_terminal", lambda: True)
    output.print_table(("name",), [("[red]x[/red]",)])
    assert "[red]x[/red]" in capsys.readouterr().out


def test_no_colour_where_there_is_no_terminal_or_it_is_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert output.on_terminal()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not output.on_terminal()


def test_json_is_one_line_unless_told(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json({"a": 1})
    output.print_json({"a": 1}, indent=True)
    assert capsys.readouterr().out == '{"a":1}\n{\n  "a": 1\n}\n'
