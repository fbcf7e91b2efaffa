from __future__ import annotations

from sidecar.health.ages import Ages


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


def test_age_is_counted_from_the_moment_that_the_mark_changed() -> None:
    clock = Clock()
    ages = Ages(clock)
    assert ages.age_s("a", 1_000) == 0
    clock.now += 3
    assert ages.age_s("a", 1_000) == 3
    assert ages.age_s("a", 2_000) == 0


def test_a_wall_clock_that_is_set_back_makes_a_mark_no_older() -> None:
    clock = Clock()
    ages = Ages(clock)
    ages.age_s("a", 5_000)
    clock.now += 1
    assert ages.age_s("a", 1) == 0


def test_without_a_mark_there_is_no_age() -> None:
    assert Ages(Clock()).age_s("a", 0) is None


def test_producers_have_ages_of_their_own() -> None:
    clock = Clock()
    ages = Ages(clock)
    ages.age_s("a", 1)
    clock.now += 2
    assert (ages.age_s("b", 1), ages.age_s("a", 1)) == (0, 2)
