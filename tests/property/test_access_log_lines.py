"""The quick way to write a `proxy.request` line says what the plain way says."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from support.clock import FrozenClock

from gateway.telemetry.access_log import AccessLog
from gateway.telemetry.lines import json_line
from gateway.telemetry.trace_context import Trace

texts = st.text(max_size=12) | st.sampled_from(
    ['"', "\\", "\x00", "\x7f", "\u2028", "\udcff", "gwr_abc", "eyJhbGci.e30.x"]
)
raws = st.binary(max_size=12) | st.sampled_from([b"Bearer abc", b"\xff"])
entries = st.tuples(
    st.just(0.0),  # when
    texts,  # method
    texts | raws,  # path
    st.integers(0, 999),
    st.none() | texts,  # route
    st.none() | texts,  # upstream
    st.floats(0, 1e6),
    st.integers(0, 2**60),
    st.integers(0, 2**60),
    st.none() | texts,  # request, user and session id
    st.none() | texts,
    st.none() | texts,
    st.none() | texts,  # address
    st.none() | texts | raws,  # user agent
    st.none() | st.just(Trace("0af7651916cd43dd8448eb211c80319c", None, "b7ad6b7169203331", "00f067aa0ba902b7")),
)


@settings(deadline=None, max_examples=200)
@given(st.lists(entries, min_size=1, max_size=4))
def test_both_ways_say_the_same(requests: list[tuple[Any, ...]]) -> None:
    quick: list[bytes] = []
    plain: list[bytes] = []
    for written, render in ((quick, json_line), (plain, lambda document: json_line(document))):
        log = AccessLog(written.append, FrozenClock(), render)
        for fields in requests * 2:  # the second time from memory
            log._append(fields)  # type: ignore[arg-type]
        log.flush()
    assert b"".join(quick).count(b"\n") == 2 * len(requests)
    assert [json.loads(line) for line in b"".join(quick).splitlines()] == [
        json.loads(line) for line in b"".join(plain).splitlines()
    ]
