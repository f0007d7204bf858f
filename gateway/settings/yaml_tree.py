"""YAML as plain data with the place of every value.

The parser of PyYAML is used, not its constructors: equal keys are refused, `yes`, `on` and `12:30` stay text, and what
anchors may expand to is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

from gateway.settings.problems import Finding, Location

_MAX_NODES = 50_000
_MAX_DEPTH = 40
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)?\.?[0-9]+(?:[eE][-+]?[0-9]+)?", re.ASCII)
_NULLS = {"", "~", "null", "Null", "NULL"}
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_STRING_TAG = "tag:yaml.org,2002:str"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the file, counted from 1."""

    line: int
    column: int


@dataclass(slots=True)
class Tree:
    """A file as plain data. `keys` and `values` hold the place of each key and value by its location."""

    data: object = None
    keys: dict[Location, Mark] = field(default_factory=dict)
    values: dict[Location, Mark] = field(default_factory=dict)
    findings: list[tuple[Finding, Mark]] = field(default_factory=list)

    def mark(self, location: Location) -> Mark | None:
        """The place of `location`, or of the nearest thing around it that is in the file."""
        while location:
            mark = self.keys.get(location) or self.values.get(location)
            if mark is not None:
                return mark
            location = location[:-1]
        return None


@dataclass(slots=True)
class _Node:
    mark: Mark
    scalar: object = None
    text: str | None = None
    items: list[_Node] | None = None
    pairs: list[tuple[_Node, _Node]] | None = None
    size: int = 1
    height: int = 1


class _Refused(Exception):
    def __init__(self, message: str, mark: Mark, hint: str | None = None) -> None:
        super().__init__(message)
        self.finding = (Finding((), message, hint), mark)


def parse(text: str) -> Tree:
    """Read one YAML document. Problems with the file as such are in `findings`; `data` is then as much as was read."""
    tree = Tree()
    try:
        root = _Composer(yaml.parse(text, Loader=_LOADER)).document()
        if root is not None:
            tree.data = _Builder(tree).build(root, ())
    except _Refused as refused:
        tree.findings.append(refused.finding)
    except yaml.MarkedYAMLError as error:
        place = error.problem_mark or error.context_mark
        mark = Mark(place.line + 1, place.column + 1) if place else Mark(1, 1)
        what = " ".join(part for part in (error.context, error.problem) if part)
        tree.findings.append(
            (Finding((), f"this is not valid YAML: {what}", "check indentation, quotes, colons"), mark)
        )
    except yaml.YAMLError as error:
        first = str(error).splitlines()[0]
        tree.findings.append((Finding((), f"this is not valid YAML: {first}"), Mark(1, 1)))
    return tree


class _Composer:
    """Parser events to nodes, with anchors resolved to shared nodes whose expanded size is known."""

    def __init__(self, events: Iterator[yaml.Event]) -> None:
        self._events = events
        self._anchors: dict[str, _Node] = {}

    def document(self) -> _Node | None:
        root: _Node | None = None
        documents = 0
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise _Refused("only one YAML document is read: remove the second ---", _mark(event))
                root = self._node(next(self._events), 0)
        return root

    def _node(self, event: yaml.Event, depth: int) -> _Node:
        mark = _mark(event)
        if depth > _MAX_DEPTH:
            raise _Refused(f"nested more than {_MAX_DEPTH} levels deep", mark)
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise _Refused(f"alias *{event.anchor} has no anchor before it, or is inside its own", mark)
            return self._anchors[event.anchor]
        if isinstance(event, yaml.ScalarEvent):
            node = _Node(mark, scalar=_scalar(event, mark), text=event.value)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._sequence(event, mark, depth)
        else:
            node = self._mapping(event, mark, depth)
        anchor = getattr(event, "anchor", None)
        if anchor is not None:
            self._anchors[anchor] = node
        return node

    def _sequence(self, event: yaml.Event, mark: Mark, depth: int) -> _Node:
        _check_tag(event, mark)
        items = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, depth + 1))
        return _collection(_Node(mark, items=items), items)

    def _mapping(self, event: yaml.Event, mark: Mark, depth: int) -> _Node:
        _check_tag(event, mark)
        pairs = []
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._node(event, depth + 1)
            pairs.append((key, self._node(next(self._events), depth + 1)))
        return _collection(_Node(mark, pairs=pairs), [part for pair in pairs for part in pair])


def _collection(node: _Node, parts: list[_Node]) -> _Node:
    node.size += sum(part.size for part in parts)
    node.height += max((part.height for part in parts), default=0)
    if node.size > _MAX_NODES:
        raise _Refused(f"expands to more than {_MAX_NODES} values", node.mark, "aliases multiply: write less of them")
    if node.height > _MAX_DEPTH:
        raise _Refused(f"nested more than {_MAX_DEPTH} levels deep", node.mark)
    return node


class _Builder:
    """Nodes to plain data, writing down where everything stood."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def build(self, node: _Node, location: Location) -> object:
        self._tree.values[location] = node.mark
        if node.items is not None:
            return [self.build(item, (*location, index)) for index, item in enumerate(node.items)]
        if node.pairs is None:
            return node.scalar
        found: dict[str, object] = {}
        merged: dict[str, object] = {}
        for _, value in (pair for pair in node.pairs if pair[0].text == "<<"):
            merged = self._merge(value, location) | merged
        for key, value in node.pairs:
            if key.text == "<<":
                continue
            if key.text is None or key.text == "":
                self._refuse(location, "a key must be a plain word", key.mark)
                continue
            place = (*location, key.text)
            if key.text in found:
                first = self._tree.keys[place]
                self._refuse(place, f"{key.text!r} is written twice; the first is in line {first.line}", key.mark)
                continue
            self._tree.keys[place] = key.mark
            found[key.text] = self.build(value, place)
        return merged | found

    def _merge(self, node: _Node, location: Location) -> dict[str, object]:
        parts = node.items if node.items is not None else [node]
        found: dict[str, object] = {}
        for part in parts:
            if part.pairs is None:
                self._refuse(location, "<< takes a mapping or a list of mappings", part.mark)
                continue
            merged = self.build(part, location)
            found = (merged if isinstance(merged, dict) else {}) | found
        return found

    def _refuse(self, location: Location, message: str, mark: Mark) -> None:
        finding = (Finding(location, message), mark)
        if all(other[0].message != message or other[1] != mark for other in self._tree.findings):
            self._tree.findings.append(finding)


def _scalar(event: yaml.ScalarEvent, mark: Mark) -> object:
    text: str = event.value
    if event.tag == _STRING_TAG or (event.tag in {None, "!"} and not event.implicit[0]):
        return text
    _check_tag(event, mark)
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.fullmatch(text) and len(text) < 20:
        return int(text)
    if _FLOAT.fullmatch(text) and not text.isdigit() and len(text) < 40:
        return float(text)
    return text


def _check_tag(event: yaml.Event, mark: Mark) -> None:
    tag = getattr(event, "tag", None)
    if tag is not None and tag != "!":
        raise _Refused(f"the tag {tag} is not supported", mark, "remove it; !!str makes text")


def _mark(event: yaml.Event) -> Mark:
    start = event.start_mark
    return Mark(start.line + 1, start.column + 1) if start is not None else Mark(1, 1)
