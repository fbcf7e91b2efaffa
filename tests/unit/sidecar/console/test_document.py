from __future__ import annotations

import json

import msgspec
import pytest

from sidecar.console.document import StatusDocument, decode, period
from tests.unit.sidecar.console.sidecar_state import document, status


def test_a_document_reads_back_as_it_was() -> None:
    assert status().encode() == decode(status().encode()).encode()


def test_sections_that_are_left_out_have_their_defaults() -> None:
    found = status(secrets=None, journal=None)
    assert (found.secrets.token.state, found.secrets.rejection, found.journal.error) == ("none", None, "")


def test_a_key_of_a_newer_sidecar_is_skipped() -> None:
    newer = document() | {"weather": {"sunny": True}}
    assert decode(json.dumps(newer).encode()).pid == status().pid


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b'{"pid": 7}'])
def test_anything_else_is_no_document(answer: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode(answer)


def test_the_document_has_every_part() -> None:
    assert set(document()) == {msgspec.structs.fields(StatusDocument)[place].encode_name for place in range(14)}


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-4.0, "0 s"), (119.9, "119 s"), (120.0, "2 min"), (3 * 3600 + 59.0, "3 h 0 min"), (200_000.0, "2 d 7 h")],
)
def test_a_period_is_rounded_down(seconds: float, words: str) -> None:
    assert period(seconds) == words
