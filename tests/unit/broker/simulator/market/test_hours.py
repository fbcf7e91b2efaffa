from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.simulator.clock import NANOS, parse_ns, rfc3339
from broker.simulator.market.hours import trading_day, trading_week


@pytest.mark.parametrize("turn", ["2026-01-05T22:00:00Z", "2026-07-06T21:00:00Z"])
def test_a_day_turns_at_17_in_new_york_in_winter_and_in_summer(turn: str) -> None:
    turn_ns = parse_ns(turn)

    assert trading_day(turn_ns) == trading_day(turn_ns - 1) + 1 == trading_day(turn_ns + 86_399 * NANOS)


@pytest.mark.parametrize(
    ("moment", "opened", "closes"),
    [
        ("2026-11-30T16:00:00Z", "2026-11-29T22:00:00", "2026-12-04T22:00:00"),
        ("2026-11-29T21:59:59Z", "2026-11-22T22:00:00", "2026-11-27T22:00:00"),
        ("2026-10-31T12:00:00Z", "2026-10-25T21:00:00", "2026-10-30T21:00:00"),
        ("2026-03-09T12:00:00Z", "2026-03-08T21:00:00", "2026-03-13T21:00:00"),
    ],
)
def test_a_week_is_the_last_that_has_opened(moment: str, opened: str, closes: str) -> None:
    found = trading_week(parse_ns(moment) // NANOS)

    assert [rfc3339(second * NANOS)[:19] for second in found] == [opened, closes]


@given(st.integers(0, 2_000_000_000))
def test_days_and_weeks_never_run_backwards(second: int) -> None:
    later = second + 3600

    assert trading_day(second * NANOS) <= trading_day(later * NANOS) <= trading_day(second * NANOS) + 1
    assert trading_week(second)[0] <= second
    assert trading_week(second)[0] <= trading_week(later)[0]
