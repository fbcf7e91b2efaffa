from __future__ import annotations

import pytest
from google.protobuf.wrappers_pb2 import Int64Value, StringValue
from hypothesis import given
from hypothesis import strategies as st

from pod_runtime.files.framing import FormatError, delimited, file_header, file_version, frame, heads, records, varint


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=8))
def test_records_come_back_whole(payloads: list[bytes]) -> None:
    data = file_header(b"TEST", 1) + b"".join(map(frame, payloads))
    assert [record.payload for record in records(data)] == payloads


@given(st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=4), st.data())
def test_a_cut_file_gives_its_whole_records_only(payloads: list[bytes], data: st.DataObject) -> None:
    whole = file_header(b"TEST", 1) + b"".join(map(frame, payloads))
    cut = data.draw(st.integers(8, len(whole)))
    found = [record.payload for record in records(whole[:cut])]
    assert found == payloads[: len(found)]
    assert sum(len(item) + 8 for item in found) <= cut - 8
    assert heads(whole[8:cut]) == ([item[0] for item in found], sum(len(item) + 8 for item in found))


def test_a_flipped_bit_ends_the_reading() -> None:
    data = bytearray(file_header(b"TEST", 1) + frame(b"one") + frame(b"two"))
    data[-1] ^= 1
    assert [record.payload for record in records(bytes(data))] == [b"one"]


def test_a_file_of_another_kind_is_refused() -> None:
    with pytest.raises(FormatError, match="wanted b'TEST'"):
        file_version(file_header(b"ELSE", 1), b"TEST")


@given(st.integers(-(2**63), 2**63 - 1).filter(bool))
def test_a_varint_is_what_the_official_class_reads(number: int) -> None:
    assert Int64Value.FromString(b"\x08" + varint(number)).value == number


@given(st.text(min_size=1))
def test_a_length_delimited_field_is_what_the_official_class_writes(text: str) -> None:
    assert delimited(1, text.encode()) == StringValue(value=text).SerializeToString()


def test_messages_nest() -> None:
    assert delimited(1, delimited(2, b"a")).hex(" ") == "0a 03 12 01 61"
