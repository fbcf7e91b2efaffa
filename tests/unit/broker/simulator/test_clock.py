from __future__ import annotations

import pytest

from broker.simulator.clock import NANOS, SimulatedClock, parse_ns, rfc3339, unix

NOW_NS = 1_700_000_000 * NANOS + 123_456_789
RFC_3339, UNIX = "2023-11-14T22:13:20.123456789Z", "1700000000.123456789"


def test_both_forms_keep_every_nanosecond() -> None:
    assert rfc3339(NOW_NS) == RFC_3339
    assert unix(RFC_3339) == UNIX
    assert parse_ns(RFC_3339) == parse_ns(UNIX) == NOW_NS


def test_a_time_without_a_fraction_is_a_whole_second() -> None:
    assert parse_ns("2023-11-14T22:13:20Z") == parse_ns("1700000000") == 1_700_000_000 * NANOS


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-12-05T10:00:00+05:00", "2026-12-05T05:00:00.000000000Z"),
        ("2026-12-05T10:00:00.123456789-05:30", "2026-12-05T15:30:00.123456789Z"),
        ("2026-12-05t10:00:00.5z", "2026-12-05T10:00:00.500000000Z"),
        ("2026-12-05T10:00:00", "2026-12-05T10:00:00.000000000Z"),
    ],
)
def test_a_time_with_an_offset_is_that_moment(text: str, utc: str) -> None:
    assert rfc3339(parse_ns(text)) == utc


def test_a_text_that_is_no_time_is_an_error() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        parse_ns("soon")


def test_a_moved_clock_keeps_the_times_that_it_has_shown() -> None:
    machine_ns = [NOW_NS]
    clock = SimulatedClock(source=lambda: machine_ns[0])
    machine_ns[0] += NANOS
    clock.move(seconds=10.0, speed=60.0)
    assert clock.now_ns() == NOW_NS + 11 * NANOS
    machine_ns[0] += NANOS
    assert clock.now_ns() == NOW_NS + 71 * NANOS
