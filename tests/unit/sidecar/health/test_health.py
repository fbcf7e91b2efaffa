from __future__ import annotations

import asyncio
from dataclasses import replace

from sidecar.health.conditions import HealthFacts, HealthSettings, ProducerFacts, SecretsFacts
from sidecar.health.health import ChangeAges, HealthMonitor

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


class FakeSource:
    """Process whose facts a test sets; None is a part that is broken."""

    def __init__(self, facts: HealthFacts | None) -> None:
        self.known = facts

    def facts(self) -> HealthFacts:
        if self.known is None:
            raise RuntimeError("a part is broken")
        return self.known


async def test_a_fact_that_cannot_be_had_leaves_the_verdict_to_go_stale() -> None:
    listener = FakeListener()
    await HealthMonitor(HealthSettings(), FakeSource(None), listener=listener).run(listener.stop)
    assert listener.heard == [{"livez": False, "livez/broker": False, "readyz": False, "startupz": False}]


def test_a_change_of_a_verdict_is_told_once() -> None:
    source, listener = FakeSource(WELL), FakeListener()
    health = HealthMonitor(HealthSettings(), source, listener=listener)
    health.refresh()
    health.refresh()
    source.known = replace(WELL, draining=True)
    health.refresh()
    assert [item["readyz"] for item in listener.heard] == [True, False]


def test_age_is_counted_from_the_moment_that_the_mark_changed() -> None:
    ages = ChangeAges()
    assert ages.age_s("a", 1_000, 50.0) == 0
    assert ages.age_s("a", 1_000, 53.0) == 3
    assert ages.age_s("a", 2_000, 53.0) == 0


def test_a_wall_clock_that_is_set_back_makes_a_mark_no_older() -> None:
    ages = ChangeAges()
    ages.age_s("a", 5_000, 50.0)
    assert ages.age_s("a", 1, 51.0) == 0


def test_without_a_mark_there_is_no_age() -> None:
    assert ChangeAges().age_s("a", 0, 50.0) is None


def test_producers_have_ages_of_their_own() -> None:
    ages = ChangeAges()
    ages.age_s("a", 1, 50.0)
    assert (ages.age_s("b", 1, 52.0), ages.age_s("a", 1, 52.0)) == (0, 2)
