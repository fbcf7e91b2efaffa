from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pod_runtime.files.framing import FormatError, Record, frame, records
from sidecar.journal.segment import HEADER, repair, segment_name, segment_numbers

PAYLOADS = st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=8)


def segment(payloads: list[bytes]) -> bytes:
    return HEADER + b"".join(map(frame, payloads))


def found(data: bytes) -> list[Record]:
    return list(records(data))


@given(PAYLOADS)
def test_a_sound_segment_is_left_as_it_is(payloads: list[bytes]) -> None:
    data = segment(payloads)
    repaired = repair(data, last=False)
    assert (repaired.data, repaired.damaged_bytes, repaired.torn_bytes) == (data, 0, 0)


@given(PAYLOADS, st.data())
def test_a_flipped_byte_costs_at_most_what_stands_behind_a_broken_length(
    payloads: list[bytes], data: st.DataObject
) -> None:
    sound = segment(payloads)
    whole = found(sound)
    hit = data.draw(st.integers(0, len(whole) - 1))
    place = data.draw(st.integers(whole[hit].start, whole[hit].end - 1))
    spoilt = bytearray(sound)
    spoilt[place] ^= data.draw(st.integers(1, 255))
    repaired = repair(bytes(spoilt), last=False)
    left = [record for record in found(repaired.data) if record in whole]
    assert left[:hit] == whole[:hit]
    assert repaired.damaged_bytes >= whole[hit].end - whole[hit].start
    assert repair(repaired.data, last=False).damaged_bytes == 0
    in_payload = place >= whole[hit].start + 8
    if in_payload and hit < len(whole) - 1:
        assert left == whole[:hit] + whole[hit + 1 :]


@given(PAYLOADS, st.data())
def test_a_torn_tail_is_cut_and_is_no_damage(payloads: list[bytes], data: st.DataObject) -> None:
    sound = segment(payloads)
    cut = data.draw(st.integers(8, len(sound)))
    repaired = repair(sound[:cut], last=True)
    kept = [record for record in found(sound) if record.end <= cut]
    assert found(repaired.data) == kept
    assert (repaired.damaged_bytes, repaired.torn_bytes) == (0, cut - (kept[-1].end if kept else 8))


def test_another_kind_or_version_is_not_guessed_at() -> None:
    with pytest.raises(FormatError):
        repair(b"ELSE\x01\x00\x00\x00", last=True)
    with pytest.raises(FormatError, match="version 7"):
        repair(b"TELJ\x07\x00\x00\x00", last=True)


def test_segments_are_told_by_their_names_in_order() -> None:
    names = [segment_name(12), segment_name(3), "checkpoint", segment_name(4) + ".damaged", "x.journal"]
    assert segment_numbers(names) == [3, 12]
