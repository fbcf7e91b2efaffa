from __future__ import annotations

import pytest

from pod_runtime.backoff import Backoff


def test_delays_grow_to_the_cap() -> None:
    policy = Backoff(base_s=1, cap_s=8)
    assert [policy.delay_s(attempt, 1.0) for attempt in range(5)] == [1, 2, 4, 8, 8]


def test_jitter_keeps_half_of_the_delay() -> None:
    assert Backoff(base_s=2, cap_s=2).delay_s(3, 0.0) == 1


def test_an_outage_of_any_length_has_a_delay() -> None:
    assert Backoff(base_s=1, cap_s=8).delay_s(1_000_000, 1.0) == 8


@pytest.mark.parametrize("wrong", [{"base_s": 0.0}, {"base_s": 9.0, "cap_s": 8.0}, {"factor": 0.5}])
def test_delays_that_would_not_grow_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="backoff needs"):
        Backoff(**wrong)
