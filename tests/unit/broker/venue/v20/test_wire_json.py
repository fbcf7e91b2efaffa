from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.venue.v20.wire_json import read_json, write_json

TEXTS = st.text(max_size=6)
SCALARS = st.none() | st.booleans() | st.integers() | TEXTS | st.floats(allow_nan=False, allow_infinity=False)
VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(TEXTS, SCALARS, max_size=3)
OBJECTS = st.dictionaries(TEXTS, VALUES, max_size=4)


@given(OBJECTS)
def test_whatever_is_written_is_read_back(value: dict[str, Any]) -> None:
    assert read_json(write_json(value)) == value
    assert json.loads(write_json(value)) == value


@given(OBJECTS)
def test_text_of_the_standard_library_is_read_alike(value: dict[str, Any]) -> None:
    assert read_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'{"units":1e400}', {"units": float("inf")}),
        (b'{"comment":"\\ud800"}', {"comment": "\ud800"}),
        (b"\xef\xbb\xbf{}", {}),
    ],
)
def test_forms_beyond_the_rfc_are_read(text: bytes, value: dict[str, Any]) -> None:
    assert read_json(text) == value


@pytest.mark.parametrize("text", [b"", b"<html>", b"{", b'{"a":"\xff"}', b"\xff\xfe", b"[" * 60_000])
def test_anything_else_is_an_error_of_value(text: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of two libraries, each with words of its own
        read_json(text)


def test_lone_surrogate_is_written_as_an_escape() -> None:
    assert write_json({"comment": "\ud800"}) == b'{"comment":"\\ud800"}'
