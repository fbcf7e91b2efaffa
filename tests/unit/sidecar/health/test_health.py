from __future__ import annotations

import asyncio
from dataclasses import replace

from sidecar.health.conditions import HealthFacts, ProducerFacts, SecretsFacts
from sidecar.health.health import ChangeAges, HealthMonitor
from sidecar.health.settings import HealthSettings

WELL = HealthFacts(
    now_ns=1,
    socket_open=True,
    secrets=SecretsFacts(generation=1),
    producer=ProducerFacts(producer_id="broker", connected=True, heartbeat_age_s=0.1),
)


class FakeListener:
    """Keeps what it is told; the first verdicts set `stop`."""

    def __init__(self) -> None:
        self.heard: list[dict[str, bool]] = []
        self.stop = asyncio.Event()

    def tell(self, verdicts: dict[str, bool]) -> None:
        self.heard.append(verdicts)
        self.stop.set()


async def test_a_fact_that_cannot_be_had_leaves_the_verdict_to_go_stale() -> None:
    def collect() -> HealthFacts:
        raise RuntimeError("a part is broken")

    listener = FakeListener()
    await HealthMonitor(HealthSettings(), collect, listener=listener).run(listener.stop)
    assert listener.heard == [{"livez": False, "livez/broker": False, "readyz": False, "startupz": False}]


def test_a_change_of_a_verdict_is_told_once() -> None:
    facts, listener = WELL, FakeListener()
    health = HealthMonitor(HealthSettings(), lambda: facts, listener=listener)
    health.refresh()
    health.refresh()
    facts = replace(WELL, draining=True)
    health.refresh()
    assert [item["readyz"] for item in listener.heard] == [True, False]


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


def test_age_is_counted_from_the_moment_that_the_mark_changed() -> None:
    clock = Clock()
    ages = ChangeAges(clock)
    assert ages.age_s("a", 1_000) == 0
    clock.now += 3
    assert ages.age_s("a", 1_000) == 3
    assert ages.age_s("a", 2_000) == 0


def test_a_wall_clock_that_is_set_back_makes_a_mark_no_older() -> None:
    clock = Clock()
    ages = ChangeAges(clock)
    ages.age_s("a", 5_000)
    clock.now += 1
    assert ages.age_s("a", 1) == 0


def test_without_a_mark_there_is_no_age() -> None:
    assert ChangeAges(Clock()).age_s("a", 0) is None


def test_producers_have_ages_of_their_own() -> None:
    clock = Clock()
    ages = ChangeAges(clock)
    ages.age_s("a", 1)
    clock.now += 2
    assert (ages.age_s("b", 1), ages.age_s("a", 1)) == (0, 2)
