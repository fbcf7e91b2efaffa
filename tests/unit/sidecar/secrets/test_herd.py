"""Two hundred agents on one server."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from sidecar.secrets.agent import SecretsAgent
from tests.unit.sidecar.secrets.agent_fixture import DATABASE, VENUE, AuditRecorder, Scene, settings_in
from tests.unit.sidecar.secrets.fake_vault import unreachable

AGENTS = 200


@pytest.mark.slow
async def test_two_hundred_agents_do_not_come_back_all_at_once(
    make_scene: Callable[..., Scene], tmp_path: Path
) -> None:
    """After an outage the busiest second has at most twice the requests of a usual one."""
    scene = make_scene(VENUE)
    tasks = []
    for number in range(AGENTS):
        place = tmp_path / str(number)
        place.mkdir()
        settings = settings_in(place, VENUE, DATABASE, poll_interval_s=2.0)
        agent = SecretsAgent(settings, audit=AuditRecorder(), caller=scene.vault, clock=scene.clock)
        tasks.append(asyncio.create_task(agent.run(asyncio.Event())))
        await scene.clock.advance(0.01)
    await scene.clock.advance(10)
    usual = busiest(scene, 10)
    scene.vault.fails = unreachable
    await scene.clock.advance(60)
    scene.vault.fails = None
    scene.vault.requests.clear()
    await scene.clock.advance(20)
    per_second = Counter(int(item.time) for item in scene.vault.requests)
    mean = len(scene.vault.requests) / 20
    print("usual", usual, "peak", max(per_second.values()), "mean", mean)
    assert max(per_second.values()) <= 2 * max(usual, mean)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def busiest(scene: Scene, seconds: int) -> float:
    """Requests a second, lately."""
    since = scene.clock.now - seconds
    return sum(item.time >= since for item in scene.vault.requests) / seconds
