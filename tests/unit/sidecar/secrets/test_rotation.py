"""The life of a published set, move by move."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.secrets.rotation import TABLE, Happening, Rotation, Stage


def rotation(stage: Stage) -> Rotation:
    return Rotation(generation=2, stage=stage, published=0.0)


@pytest.mark.parametrize(
    ("stage", "happening", "becomes"),
    [
        (Stage.FETCHED, Happening.PUBLISH, Stage.PUBLISHED),
        (Stage.PUBLISHED, Happening.APPLY, Stage.ACKNOWLEDGED),
        (Stage.PUBLISHED, Happening.REJECT, Stage.REJECTED),
        (Stage.PUBLISHED, Happening.TIME_OUT, Stage.TIMED_OUT),
        (Stage.REJECTED, Happening.APPLY, Stage.ACKNOWLEDGED),
        (Stage.TIMED_OUT, Happening.APPLY, Stage.ACKNOWLEDGED),
        (Stage.TIMED_OUT, Happening.REJECT, Stage.REJECTED),
        (Stage.ACKNOWLEDGED, Happening.REJECT, Stage.ACKNOWLEDGED),
        (Stage.ACKNOWLEDGED, Happening.TIME_OUT, Stage.ACKNOWLEDGED),
        (Stage.FETCHED, Happening.APPLY, Stage.ACKNOWLEDGED),
        (Stage.FETCHED, Happening.TIME_OUT, Stage.FETCHED),
    ],
)
def test_moves(stage: Stage, happening: Happening, becomes: Stage) -> None:
    assert rotation(stage).after(happening).stage is becomes


@given(st.lists(st.sampled_from(Happening), max_size=20))
def test_nothing_is_retired_that_was_proved_by_nobody_and_replaced_by_nothing(moves: list[Happening]) -> None:
    item = rotation(Stage.FETCHED)
    for happening in moves:
        before = item.stage
        item = item.after(happening)
        assert item.stage is before or TABLE[before, happening] is item.stage
        assert before is not Stage.RETIRED or item.stage is Stage.RETIRED


def test_every_required_reader_must_have_proved_it() -> None:
    required = frozenset({"a", "b"})
    once = rotation(Stage.PUBLISHED).applied("a", required)
    assert once.stage is Stage.PUBLISHED
    assert once.applied("b", required).stage is Stage.ACKNOWLEDGED
