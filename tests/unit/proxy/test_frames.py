"""Where WebSocket frames end, in whatever pieces they come."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.websockets import frame

from gateway.proxy.frames import FrameBoundaries, close_frame

FRAMES = st.lists(
    st.tuples(st.sampled_from([0, 1, 2, 9, 10]), st.sampled_from([0, 1, 125, 126, 300, 65536]), st.booleans()),
    max_size=6,
)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(places)]


@given(FRAMES, st.lists(st.integers(0, 400_000), max_size=12))
def test_boundaries_are_found_across_any_pieces(described: list[tuple[int, int, bool]], cuts: list[int]) -> None:
    frames = [frame(b"\x88" * size, opcode, mask=mask) for opcode, size, mask in described]
    ends, at = {0}, 0
    for one in frames:
        ends.add(at := at + len(one))
    follower, at = FrameBoundaries(), 0
    for piece in pieces(b"".join(frames), cuts):
        follower.feed(piece)
        at += len(piece)
        assert follower.between_frames == (at in ends)
    assert not follower.closed


@given(st.sampled_from([0, 1, 125, 126, 65536]), st.integers(1, 70_000), st.lists(st.integers(0, 90_000), max_size=5))
def test_the_end_of_the_frame_under_way(size: int, begun: int, cuts: list[int]) -> None:
    first = frame(bytes(size))
    begun = min(begun, len(first))
    follower = FrameBoundaries()
    follower.feed(first[:begun])
    left = len(first) - begun
    for piece in pieces(first[begun:] + frame(b"next"), cuts):
        end = follower.end_of_frame(piece)
        assert end == min(left, len(piece))
        left -= end
        if left == 0:
            break
    assert follower.between_frames


def test_a_close_frame_is_noticed_and_can_be_written() -> None:
    follower = FrameBoundaries()
    closing = close_frame(4401, b"session revoked")
    follower.feed(closing[:1])
    assert (follower.closed, follower.between_frames) == (False, False)
    follower.feed(closing[1:])
    assert (follower.closed, follower.between_frames) == (True, True)
    assert closing == frame(b"\x11\x31session revoked", 8)


@pytest.mark.parametrize("data", [b"\xff" * 14, b"\x82\x7f" + b"\xff" * 8])
def test_absurd_lengths_are_only_counted(data: bytes) -> None:
    follower = FrameBoundaries()
    follower.feed(data)
    assert not follower.between_frames
    assert follower.end_of_frame(b"x" * 100) == 100
