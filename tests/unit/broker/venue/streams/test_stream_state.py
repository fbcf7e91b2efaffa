from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.venue.streams.stream_state import LineSplitter, StreamDataError, failures_after, last_without_gap, message

LINES = [json.dumps({"type": "PRICE", "text": "ü\\n{", "n": number}).encode() for number in range(5)]


@given(st.lists(st.integers(0, 250), max_size=30))
def test_cuts_anywhere_change_nothing(cuts: list[int]) -> None:
    data = b"\n".join(LINES) + b"\n\n"
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    splitter = LineSplitter()
    found = [line for start, end in pairwise(places) for line in splitter.feed(data[start:end])]
    assert found == LINES


@pytest.mark.parametrize("line", [b"<html>", b"[1]", b'{"cut": ', b"\xff\xfe"])
def test_what_is_no_object_says_so(line: bytes) -> None:
    with pytest.raises(StreamDataError):
        message(line)


def test_line_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.venue.streams.stream_state.MAX_LINE_BYTES", 10)
    with pytest.raises(StreamDataError, match="more than 10 bytes"):
        LineSplitter().feed(b"x" * 11)


def test_backoff_starts_anew_after_a_healthy_life() -> None:
    assert failures_after(5, lived_s=61.0, healthy_after_s=60.0) == 1
    assert failures_after(5, lived_s=59.0, healthy_after_s=60.0) == 6


def test_gap_free_prefix_ends_before_the_hole() -> None:
    assert last_without_gap([4, 5, 6], 3) == 6
    assert last_without_gap([], 3) == 3
    assert last_without_gap([4, 6], 3) == 4
    assert last_without_gap([5, 6], 3) == 3
    assert last_without_gap([2, 3, 4], 3) == 4
