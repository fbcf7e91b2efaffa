from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.console.settings import PanelSettings
from sidecar.console.status.time_series import (
    PanelSample,
    StatusSample,
    TimeSeries,
    panel_quantiles,
    panel_rates,
    panel_samples,
    quantile,
    rates,
)
from sidecar.telemetry.model import Distribution, Family, Number, ProducerMetrics, Snapshot
from telemetry_contract.v1 import telemetry_pb2 as pb

BOUNDS = (0.1, 0.2, 0.4)


def sample(time_s: float, total: float, panel: PanelSample | None = None) -> StatusSample:
    return StatusSample(time_s=time_s, totals={"received": total}, panels=(panel or PanelSample(),))


def filled(*samples: StatusSample) -> TimeSeries:
    history = TimeSeries(10)
    for item in samples:
        history.add(item)
    return history


def test_a_rate_is_the_growth_of_a_total_by_time() -> None:
    assert filled(sample(0, 0), sample(1, 10), sample(3, 50)).rate("received", 5) == pytest.approx(50 / 3)


def test_a_rate_looks_no_further_back_than_asked() -> None:
    assert filled(sample(0, 0), sample(10, 1000), sample(11, 1005)).rate("received", 2) == 5


def test_a_rate_over_less_than_a_step_is_the_last_step() -> None:
    assert filled(sample(0, 0), sample(10, 30)).rate("received", 1) == 3


def test_one_sample_has_no_rate() -> None:
    assert filled(sample(0, 7)).rate("received", 5) == 0


def test_a_total_that_fell_began_anew() -> None:
    assert rates([sample(0, 100), sample(1, 4)], "received") == [4]


def test_the_history_forgets_the_oldest() -> None:
    history = TimeSeries(2)
    for second in range(5):
        history.add(sample(second, 0))
    assert [item.time_s for item in history.samples] == [3, 4]


def test_a_panel_rate_adds_all_labels() -> None:
    before, after = PanelSample(totals={"a": 1, "b": 2}), PanelSample(totals={"a": 3, "b": 2, "c": 4})
    assert panel_rates([sample(0, 0, before), sample(2, 0, after)], 0) == [3]


@pytest.mark.parametrize(
    ("share", "buckets", "expected"),
    [
        (0.5, (10, 0, 0, 0), 0.05),
        (0.5, (0, 10, 0, 0), 0.15),
        (0.99, (0, 0, 100, 0), 0.398),
        (0.5, (0, 0, 0, 3), 0.4),
        (0.5, (0, 0, 0, 0), None),
    ],
)
def test_a_quantile_is_linear_within_its_bucket(share: float, buckets: tuple[int, ...], expected: float | None) -> None:
    assert quantile(share, BOUNDS, buckets) == pytest.approx(expected)


def test_a_latency_curve_shows_what_came_lately_only() -> None:
    states = [(0, 0, 0, 0), (100, 0, 0, 0), (100, 0, 0, 0), (100, 0, 5, 0)]
    samples = [sample(i, 0, PanelSample(bounds=BOUNDS, buckets=item)) for i, item in enumerate(states)]
    assert panel_quantiles(samples, 0, 0.5, window=1) == [0.05, None, pytest.approx(0.3)]


@given(st.lists(st.integers(0, 1000), min_size=4, max_size=4), st.floats(0, 1), st.floats(0, 1))
def test_quantiles_rise_with_their_share_and_stay_within_the_bounds(buckets: list[int], a: float, b: float) -> None:
    low, high = (quantile(share, BOUNDS, buckets) for share in sorted((a, b)))
    if not any(buckets):
        assert (low, high) == (None, None)
    else:
        assert low is not None
        assert high is not None
        assert 0 <= low <= high <= BOUNDS[-1]


def family(name: str, *points: Number | Distribution, bounds: tuple[float, ...] = ()) -> Family:
    kind = pb.INSTRUMENT_KIND_HISTOGRAM if bounds else pb.INSTRUMENT_KIND_COUNTER
    return Family(name=name, kind=kind, unit="", description="", bounds=bounds, points=points)


def number(value: float, **labels: str) -> Number:
    return Number(tuple(labels.items()), 0, 0, value)


def producer(name: str, *families: Family) -> ProducerMetrics:
    return ProducerMetrics(producer_id=name, resource=(), families=families)


def test_panels_read_their_instruments_over_all_producers() -> None:
    buckets = Distribution((), 0, 0, 3, 1.0, (1, 2, 0, 0))
    snapshot = Snapshot(
        time_ns=0,
        producers=(
            producer("a", family("orders", number(2, status="filled"), number(3, status="open"))),
            producer("b", family("orders", number(4, status="filled")), family("latency", buckets, bounds=BOUNDS)),
        ),
    )
    panels = (
        PanelSettings(title="", instrument="orders", show="states", by="status"),
        PanelSettings(title="", instrument="latency", show="latency"),
        PanelSettings(title="", instrument="absent"),
    )
    assert panel_samples(panels, snapshot) == (
        PanelSample(totals={"filled": 6, "open": 3}),
        PanelSample(bounds=BOUNDS, buckets=(1, 2, 0, 0)),
        PanelSample(),
    )
