"""Two hundred agents on one server."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from sidecar.secrets.agent import SecretsAgent
from tests.unit.sidecar.secrets.agent_harness import DATABASE, VENUE, AgentHarness, AuditRecorder, settings_in
from tests.unit.sidecar.secrets.fake_vault import unreachable

AGENTS = 200


@pytest.mark.slow
async def test_two_hundred_agents_do_not_come_back_all_at_once(
    make_harness: Callable[..., AgentHarness], tmp_path: Path
) -> None:
    """After an outage the busiest second has at most twice the requests of a usual one."""
    harness = make_harness(VENUE)
    tasks = []
    for number in range(AGENTS):
        place = tmp_path / str(number)
        place.mkdir()
        settings = settings_in(place, VENUE, DATABASE, poll_interval_s=2.0)
        agent = SecretsAgent(settings, audit=AuditRecorder(), caller=harness.vault, clock=harness.clock)
        tasks.append(asyncio.create_task(agent.run(asyncio.Event())))
        await harness.clock.advance(0.01)
    await harness.clock.advance(10)
    usual = busiest(harness, 10)
    harness.vault.fails = unreachable
    await harness.clock.advance(60)
    harness.vault.fails = None
    harness.vault.requests.clear()
    await harness.clock.advance(20)
    per_second = Counter(int(item.time) for item in harness.vault.requests)
    mean = len(harness.vault.requests) / 20
    print("usual", usual, "peak", max(per_second.values()), "mean", mean)
    assert max(per_second.values()) <= 2 * max(usual, mean)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def busiest(harness: AgentHarness, seconds: int) -> float:
    """Requests a second, lately."""
    since = harness.clock.now - seconds
    return sum(item.time >= since for item in harness.vault.requests) / seconds
