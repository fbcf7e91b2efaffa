from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.checkpoint import format as checkpoints
from sidecar.metrics.series import CAPTURE_ROWS, SeriesCapture, SumSeries, exact_sum
from tests.unit.sidecar.batches import TIME_NS
from tests.unit.sidecar.telemetry_core import TelemetryCore, encoded


def series(number: int) -> SumSeries:
    made = SumSeries((("n", str(number)),), TIME_NS)
    made.count(number, TIME_NS)
    return made


def test_a_series_that_changes_before_its_turn_is_read_as_it_was() -> None:
    made = [series(number) for number in range(CAPTURE_ROWS + 2)]
    wanted = [each.row() for each in made]
    taken = SeriesCapture(made)
    parts = taken.parts()
    found = list(next(parts))
    for each in made:
        taken.hold(each)
        each.count(5, TIME_NS + 1)
    for part in parts:
        found += part
    assert found == wanted
    assert taken.done


def test_a_series_that_changes_twice_is_read_as_it_was_first() -> None:
    (one,) = made = [series(3)]
    taken = SeriesCapture(made)
    for _ in range(2):
        taken.hold(one)
        one.count(5, TIME_NS + 1)
    assert [row[3] for part in taken.parts() for row in part] == [3]


@given(st.lists(st.integers(0, 6), min_size=1, max_size=8), st.integers(1, 12))
def test_a_checkpoint_that_is_written_while_events_arrive_says_its_moment(turns: list[int], count: int) -> None:
    core = TelemetryCore()
    core.send("a", "s1", 12, 1)
    core.send("b", "s1", 5, 1)
    wanted = checkpoints.decode(encoded(core.telemetry_state.checkpoint(core.journal.end)))
    parts, sequence = [], 13
    writing = checkpoints.slices(core.telemetry_state.checkpoint(core.journal.end))
    for turn in turns:
        parts += [part for _, part in zip(range(turn), writing, strict=False)]
        core.send("a", "s1", count, sequence)
        sequence += count
    assert checkpoints.decode(b"".join([*parts, *writing])) == wanted


@given(st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=60), st.data())
def test_a_sum_is_the_correctly_rounded_one_in_whatever_portions_it_comes(
    values: list[float], data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(values)), max_size=5)))
    high = low = 0.0
    for start, end in zip([0, *cuts], [*cuts, len(values)], strict=True):
        high, low = exact_sum(high, low, values[start:end])
    assert high == pytest.approx(math.fsum(values), rel=1e-15, abs=1e-300)


def test_a_sum_beyond_all_doubles_is_infinite() -> None:
    assert exact_sum(1.7e308, 0.0, [1.7e308]) == (math.inf, 0.0)
