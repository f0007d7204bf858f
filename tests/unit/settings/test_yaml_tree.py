"""YAML as the gateway reads it: bounded, without surprises, with places."""

from __future__ import annotations

import pytest

from gateway.settings.yaml_tree import Mark, parse


def messages(text: str) -> list[str]:
    return [finding.message for finding, _ in parse(text).findings]


def test_scalars_are_those_of_yaml_1_2() -> None:
    data = parse(
        "a: 12:30\nb: yes\nc: off\nd: 0777\ne: true\nf: 5\ng: '5'\nh: ~\ni: 1.5\nj: 2026-01-01\nk: 1_000\n"
        "l: !!str 5\nm:\nn: 0x1F\no: 5.\np: -3\nq: 1e3\nr: .inf\n"
    ).data
    assert data == {
        "a": "12:30", "b": "yes", "c": "off", "d": "0777", "e": True, "f": 5, "g": "5", "h": None, "i": 1.5,
        "j": "2026-01-01", "k": "1_000", "l": "5", "m": None, "n": "0x1F", "o": "5.", "p": -3, "q": 1000.0, "r": ".inf",
    }  # fmt: skip


def test_every_key_and_value_has_its_place() -> None:
    tree = parse("server:\n  listen: x\nroutes:\n  - name: a\n  - name: b\n")
    assert tree.mark(("server", "listen")) == Mark(2, 3)
    assert tree.mark(("routes", 1, "name")) == Mark(5, 5)
    assert tree.mark(("routes", 1, "match", "path")) == Mark(5, 5), "what is missing is where it should be"
    assert tree.mark(("nowhere",)) is None


def test_duplicate_keys_are_refused_wherever_they_are() -> None:
    found = parse("a: 1\nb: {c: 1, c: 2}\na: 2\n").findings
    assert [(finding.location, mark.line) for finding, mark in found] == [(("b", "c"), 2), (("a",), 3)]
    assert "the first is in line 1" in found[1][0].message


def test_anchors_and_merges_work_and_own_keys_win() -> None:
    data = parse("base: &b {x: 1, y: 2}\none: {<<: *b, y: 3}\ntwo: {y: 4, <<: [*b, {z: 5, x: 6}]}\nlist: [*b]\n").data
    assert data == {
        "base": {"x": 1, "y": 2},
        "one": {"x": 1, "y": 3},
        "two": {"x": 1, "y": 4, "z": 5},
        "list": [{"x": 1, "y": 2}],
    }


def test_a_duplicate_behind_an_alias_is_told_once() -> None:
    assert len(messages("a: &x {b: 1, b: 2}\nc: *x\nd: *x\n")) == 1


def billion_laughs(levels: int) -> str:
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (billion_laughs(9), "expands to more than"),
        ("a: &a [*a]", "is inside its own"),
        ("a: *nowhere", "has no anchor"),
        ("[" * 5000, "levels deep"),
        ("a0: &a0 []\n" + "\n".join(f"a{n}: &a{n} [[[[[*a{n - 1}]]]]]" for n in range(1, 40)), "levels deep"),
        ("a: 1\n---\nb: 2\n", "only one YAML document"),
        ("a: !!python/object/apply:os.system [id]", "is not supported"),
        ("a: !custom x", "is not supported"),
        ("a: [1\nb: 2", "not valid YAML"),
        ("a: b: c", "not valid YAML"),
        ("\x00", "not valid YAML"),
        ("? [a, b]\n: 1", "a key must be a plain word"),
        ("'': 1", "a key must be a plain word"),
        ("a: {<<: 5}", "<< takes a mapping"),
    ],
)  # fmt: skip
def test_what_could_explode_or_mean_two_things_is_refused(text: str, message: str) -> None:
    found = messages(text)
    assert len(found) == 1
    assert message in found[0]


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "---\n...\n"])
def test_an_empty_file_is_no_problem(text: str) -> None:
    tree = parse(text)
    assert (tree.data, tree.findings) == (None, [])
