"""Reading a traceparent by its bytes says what the grammar of W3C Trace Context says."""

from __future__ import annotations

import re

from hypothesis import example, given
from hypothesis import strategies as st

from gateway.telemetry.trace_context import Sampler, parse

GRAMMAR = re.compile(
    rb"(?!ff)([0-9a-f]{2})-(?!0{32}-)([0-9a-f]{32})-(?!0{16}-)([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL
)
near = st.builds(
    lambda version, trace, span, flags, rest: f"{version}-{trace}-{span}-{flags}{rest}".encode(),
    st.sampled_from(["00", "01", "ff", "0", "0A"]),
    st.text("0123456789abcdef", min_size=31, max_size=33) | st.just("0" * 32),
    st.text("0123456789abcdef", min_size=15, max_size=17) | st.just("0" * 16),
    st.sampled_from(["00", "01", "03", "1", "0g", "0-"]),
    st.sampled_from(["", "-", "-x", "x", " ", "\n"]),
)


@given(near | st.binary(max_size=60))
@example(b"00-" + b"0" * 32 + b"-" + b"1" * 16 + b"-01")
@example(b"0-0" + b"1" * 31 + b"--" + b"1" * 16 + b"-01")
def test_bytes_and_grammar_agree(value: bytes) -> None:
    match = GRAMMAR.fullmatch(value)
    valid = match is not None and not (match[1] == b"00" and match[5])
    found = parse(value)
    assert (found is not None) == valid
    if found is not None and match is not None:
        assert found.trace_id.encode() == match[2] and found.span_id.encode() == match[3]
        assert found.sampled == bool(int(match[4], 16) & 1)


names = st.sampled_from([b"traceparent", b"TraceParent", b"tracestate", b"Accept", b"X-Traceparent"])


@given(
    st.lists(st.tuples(names, near), max_size=4),
    st.booleans(),
    st.sampled_from([0.0, 0.9]),
)
def test_an_upstream_gets_one_valid_traceparent_or_none(
    headers: list[tuple[bytes, bytes]], trusted: bool, chance: float
) -> None:
    lines = [b"", *(name + b": " + value for name, value in headers)]
    others = [line for line in lines[1:] if not line.lower().startswith((b"traceparent:", b"tracestate:"))]
    trace = Sampler(0.5, chance=lambda: chance).begin(lines, "r", trusted=trusted)
    sent = [line.partition(b": ")[2] for line in lines if line.lower().startswith(b"traceparent:")]
    assert len(sent) <= 1 and lines[0] == b""
    parents = [parse(value) for value in sent]
    assert None not in parents
    assert [line for line in lines[1:] if not line.lower().startswith((b"traceparent:", b"tracestate:"))] == others
    if trace is not None:
        assert sent == [f"00-{trace.trace_id}-{trace.upstream_id}-01".encode()]
    elif parents and parents[0] is not None:
        assert not parents[0].sampled
