"""W3C Trace Context as it is read, and who decides what is traced."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.telemetry.trace_context import Parent, Sampler, parse

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{SPAN}-01".encode(), f"00-{TRACE}-{SPAN}-00".encode()
STATE = b"tracestate: vendor=1"


def sampler(chance: float, ratio: float = 0.5) -> Sampler:
    return Sampler(ratio, lambda size: bytes(range(1, size + 1)), lambda: chance)


def lines(*values: bytes, name: bytes = b"traceparent") -> list[bytes]:
    return [b"", b"Accept: */*", *(name + b": " + value for value in values)]


@pytest.mark.parametrize("flags", ["00", "01", "02", "03", "fe", "ff"])
def test_flags_are_bits(flags: str) -> None:
    assert parse(f"00-{TRACE}-{SPAN}-{flags}".encode()) == Parent(TRACE, SPAN, int(flags, 16) % 2 == 1)


@pytest.mark.parametrize("value", [f"01-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01-what-comes-later"])
def test_later_versions_are_read_as_far_as_known(value: str) -> None:
    assert parse(value.encode()) == Parent(TRACE, SPAN, sampled=True)


@pytest.mark.parametrize(
    "value",
    [
        "", "00", f"00-{TRACE}-{SPAN}", f"00-{TRACE}-{SPAN}-1", f"00-{TRACE}-{SPAN}-01-", f"00-{TRACE}-{SPAN}-011",
        f"ff-{TRACE}-{SPAN}-01", f"01-{TRACE}-{SPAN}-01x", f"00-{TRACE.upper()}-{SPAN}-01", f"00-{TRACE}-{SPAN}-0G",
        f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", f"00_{TRACE}_{SPAN}_01", f"00-{TRACE}{SPAN}--01",
        f"00-{TRACE[:-1]}-{SPAN}-01x", f"0-0{TRACE}-{SPAN}-01"[:55], f" 0-{TRACE}-{SPAN}-01",
    ],
)  # fmt: skip
def test_what_is_not_valid_is_none(value: str) -> None:
    assert parse(value.encode()) is None


def test_a_request_without_a_parent_begins_a_trace_by_chance() -> None:
    head = lines()
    trace = sampler(0.49).begin(head, "r", trusted=False)
    assert trace is not None
    assert trace.parent_id is None
    assert head == [*lines(), f"traceparent: 00-{trace.trace_id}-{trace.upstream_id}-01".encode()]
    assert trace.span_id != trace.upstream_id
    head = lines()
    assert sampler(0.5).begin(head, "r", trusted=False) is None
    assert head == lines()


@pytest.mark.parametrize(("ratio", "sampled"), [(0.0, False), (1.0, True)])
def test_never_and_always(ratio: float, sampled: bool) -> None:
    for chance in (0.0, 0.999999):
        assert (sampler(chance, ratio).begin(lines(), "r", trusted=False) is not None) is sampled


@pytest.mark.parametrize("name", [b"traceparent", b"Traceparent", b"TRACEPARENT"])
def test_a_trusted_peer_decides(name: bytes) -> None:
    head = [*lines(SAMPLED, name=name), STATE]
    trace = sampler(0.99).begin(head, "r", trusted=True)
    assert trace is not None
    assert (trace.trace_id, trace.parent_id) == (TRACE, SPAN)
    assert head == [*lines(), STATE, f"traceparent: 00-{TRACE}-{trace.upstream_id}-01".encode()]
    head = lines(UNSAMPLED, name=name)
    assert sampler(0.0).begin(head, "r", trusted=True) is None
    assert head == lines(UNSAMPLED, name=name)


@pytest.mark.parametrize("value", [SAMPLED, UNSAMPLED])
def test_a_stranger_does_not_decide_but_is_continued(value: bytes) -> None:
    trace = sampler(0.0).begin(lines(value), "r", trusted=False)
    assert trace is not None
    assert (trace.trace_id, trace.parent_id) == (TRACE, SPAN)


def test_a_strangers_flag_makes_no_backend_record_either() -> None:
    head = [*lines(SAMPLED), STATE]
    assert sampler(0.99).begin(head, "r", trusted=False) is None
    assert head == [*lines(), STATE, b"traceparent: " + UNSAMPLED]


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize("values", [(b"nonsense",), (SAMPLED, SAMPLED), (UNSAMPLED, b"x")])
def test_what_is_invalid_is_as_if_it_had_not_come(values: tuple[bytes, ...], trusted: bool) -> None:
    head = [*lines(*values), STATE]
    assert sampler(0.99).begin(head, "r", trusted=trusted) is None
    assert head == lines()
    head = [*lines(*values), STATE]
    trace = sampler(0.0).begin(head, "r", trusted=trusted)
    assert trace is not None
    assert trace.parent_id is None and trace.trace_id != TRACE
    assert head == [*lines(), trace.line]


@pytest.mark.parametrize(
    ("spoil", "left"), [(lambda s: s.forget("r"), {}), (lambda s: s.forget("other"), {"r"}), (lambda s: None, {"r"})]
)
def test_those_under_way_are_known_by_their_request(spoil: Callable[[Sampler], None], left: set[str]) -> None:
    one = sampler(0.0)
    one.begin(lines(), "r", trusted=False)
    spoil(one)
    assert set(one.active) == set(left)
