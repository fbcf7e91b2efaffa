from __future__ import annotations

from sidecar.health.heartbeats import Heartbeats


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


def test_age_is_counted_from_the_moment_that_the_heartbeat_changed() -> None:
    clock = Clock()
    heard = Heartbeats(clock)
    assert heard.age_s("a", 1_000) == 0
    clock.now += 3
    assert heard.age_s("a", 1_000) == 3
    assert heard.age_s("a", 2_000) == 0


def test_a_wall_clock_that_is_set_back_makes_a_heartbeat_no_older() -> None:
    clock = Clock()
    heard = Heartbeats(clock)
    heard.age_s("a", 5_000)
    clock.now += 1
    assert heard.age_s("a", 1) == 0


def test_without_a_heartbeat_there_is_no_age() -> None:
    assert Heartbeats(Clock()).age_s("a", 0) is None


def test_producers_have_ages_of_their_own() -> None:
    clock = Clock()
    heard = Heartbeats(clock)
    heard.age_s("a", 1)
    clock.now += 2
    assert (heard.age_s("b", 1), heard.age_s("a", 1)) == (0, 2)
