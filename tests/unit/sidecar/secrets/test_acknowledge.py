"""Stages of a generation, and reports of producers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.secrets.acknowledge import (
    TRANSITIONS,
    Acknowledgement,
    Stage,
    StageEvent,
)
from telemetry_contract.v1 import telemetry_pb2 as pb

HELLO = pb.Hello(protocol_version=1, producer_id="broker", session_id="s1", first_sequence=1)


def generation(stage: Stage) -> Acknowledgement:
    return Acknowledgement(generation=2, stage=stage, published=0.0)


@pytest.mark.parametrize(
    ("stage", "event", "becomes"),
    [
        (Stage.FETCHED, StageEvent.PUBLISH, Stage.PUBLISHED),
        (Stage.PUBLISHED, StageEvent.APPLY, Stage.ACKNOWLEDGED),
        (Stage.PUBLISHED, StageEvent.REJECT, Stage.REJECTED),
        (Stage.PUBLISHED, StageEvent.TIME_OUT, Stage.TIMED_OUT),
        (Stage.REJECTED, StageEvent.APPLY, Stage.ACKNOWLEDGED),
        (Stage.TIMED_OUT, StageEvent.APPLY, Stage.ACKNOWLEDGED),
        (Stage.TIMED_OUT, StageEvent.REJECT, Stage.REJECTED),
        (Stage.ACKNOWLEDGED, StageEvent.REJECT, Stage.ACKNOWLEDGED),
        (Stage.ACKNOWLEDGED, StageEvent.TIME_OUT, Stage.ACKNOWLEDGED),
        (Stage.FETCHED, StageEvent.APPLY, Stage.ACKNOWLEDGED),
        (Stage.FETCHED, StageEvent.TIME_OUT, Stage.FETCHED),
    ],
)
def test_moves(stage: Stage, event: StageEvent, becomes: Stage) -> None:
    assert generation(stage).after(event).stage is becomes


@given(st.lists(st.sampled_from(StageEvent), max_size=20))
def test_what_is_acknowledged_stays_so_whatever_comes(moves: list[StageEvent]) -> None:
    item = generation(Stage.FETCHED)
    for event in moves:
        before = item.stage
        item = item.after(event)
        assert item.stage is before or TRANSITIONS[before, event] is item.stage
        assert before is not Stage.ACKNOWLEDGED or item.stage is Stage.ACKNOWLEDGED


def test_every_required_reader_must_have_proved_it() -> None:
    required = frozenset({"a", "b"})
    once = generation(Stage.PUBLISHED).applied("a", required)
    assert once.stage is Stage.PUBLISHED
    assert once.applied("b", required).stage is Stage.ACKNOWLEDGED
