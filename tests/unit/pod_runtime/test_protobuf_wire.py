from __future__ import annotations

from google.protobuf.wrappers_pb2 import Int64Value, StringValue
from hypothesis import given
from hypothesis import strategies as st

from pod_runtime.protobuf_wire import delimited, varint


@given(st.integers(-(2**63), 2**63 - 1).filter(bool))
def test_a_varint_is_what_the_official_class_reads(number: int) -> None:
    assert Int64Value.FromString(b"\x08" + varint(number)).value == number


@given(st.text(min_size=1))
def test_a_length_delimited_field_is_what_the_official_class_writes(text: str) -> None:
    assert delimited(1, text.encode()) == StringValue(value=text).SerializeToString()


def test_messages_nest() -> None:
    assert delimited(1, delimited(2, b"a")).hex(" ") == "0a 03 12 01 61"
