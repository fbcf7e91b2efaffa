"""Stages of a generation, and reports of producers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.secrets.acknowledge import REACHED_FROM, Acknowledgement, Stage
from telemetry_contract.v1 import telemetry_pb2 as pb

HELLO = pb.Hello(protocol_version=1, producer_id="broker", session_id="s1", first_sequence=1)


def generation(stage: Stage) -> Acknowledgement:
    return Acknowledgement(generation=2, stage=stage, published=0.0)


@pytest.mark.parametrize(
    ("stage", "asked", "becomes"),
    [
        (Stage.FETCHED, Stage.PUBLISHED, Stage.PUBLISHED),
        (Stage.PUBLISHED, Stage.ACKNOWLEDGED, Stage.ACKNOWLEDGED),
        (Stage.PUBLISHED, Stage.REJECTED, Stage.REJECTED),
        (Stage.PUBLISHED, Stage.TIMED_OUT, Stage.TIMED_OUT),
        (Stage.REJECTED, Stage.ACKNOWLEDGED, Stage.ACKNOWLEDGED),
        (Stage.TIMED_OUT, Stage.ACKNOWLEDGED, Stage.ACKNOWLEDGED),
        (Stage.TIMED_OUT, Stage.REJECTED, Stage.REJECTED),
        (Stage.ACKNOWLEDGED, Stage.REJECTED, Stage.ACKNOWLEDGED),
        (Stage.ACKNOWLEDGED, Stage.TIMED_OUT, Stage.ACKNOWLEDGED),
        (Stage.FETCHED, Stage.ACKNOWLEDGED, Stage.ACKNOWLEDGED),
        (Stage.FETCHED, Stage.TIMED_OUT, Stage.FETCHED),
    ],
)
def test_moves(stage: Stage, asked: Stage, becomes: Stage) -> None:
    assert generation(stage).moved(asked).stage is becomes


@given(st.lists(st.sampled_from(list(REACHED_FROM)), max_size=20))
def test_what_is_acknowledged_stays_so_whatever_comes(moves: list[Stage]) -> None:
    item = generation(Stage.FETCHED)
    for asked in moves:
        before = item.stage
        item = item.moved(asked)
        assert item.stage is before or (item.stage is asked and before in REACHED_FROM[asked])
        assert before is not Stage.ACKNOWLEDGED or item.stage is Stage.ACKNOWLEDGED


def test_every_required_reader_must_have_proved_it() -> None:
    required = frozenset({"a", "b"})
    once = generation(Stage.PUBLISHED).applied("a", required)
    assert once.stage is Stage.PUBLISHED
    assert once.applied("b", required).stage is Stage.ACKNOWLEDGED
