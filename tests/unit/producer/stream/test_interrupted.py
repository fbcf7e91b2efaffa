"""A cancellation at any await of a producer's stream, while the loop stands beyond all deadlines.

`INTERRUPTIONS` is the number of awaits that each test tries; 0 tries them all.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from producer.stream.client import TelemetryStream
from tests.unit.interruption import LOOPS, Interruption, ends
from tests.unit.producer.fake_sidecar import SidecarFake, listening, until
from tests.unit.producer.samples import emitter, sale, settings

STEPS = 48
DEADLINE_S = 0.2
PROMPT_S = 20.0
TRIED = int(os.environ.get("INTERRUPTIONS", "2"))
SEED = int(os.environ.get("SEED", "20"))
KINDS: dict[str, dict[str, Any]] = {
    "broken_off": {"break_every": 1},
    "silent": {"silent": True},
    "refused": {"refuse": True},
    "well": {},
}


@LOOPS
@pytest.mark.parametrize("kind", KINDS)
def test_cancellation_ends_the_stream_wherever_it_is(
    tmp_path: Path, new_loop: Callable[[], asyncio.AbstractEventLoop], kind: str
) -> None:
    every = STEPS // TRIED if TRIED else 1
    for turns in (-1, 0, 1, 2, 3):
        for at in range(3 + (SEED + 5 * turns) % every, STEPS, every):
            with asyncio.Runner(loop_factory=new_loop) as runner:
                place = tmp_path / f"{turns} {at}"
                assert runner.run(_interrupted(place, SidecarFake(**KINDS[kind]), at, turns)) == ""


async def _interrupted(place: Path, sidecar: SidecarFake, at: int, turns: int) -> str:
    made = emitter(place)
    for number in range(300):
        made.emit(sale(number))
    chosen = settings(
        place, connect_deadline_s=DEADLINE_S, ack_deadline_s=DEADLINE_S, backoff_s=0.01, backoff_cap_s=0.05
    )
    tasks: list[asyncio.Task[None]] = []
    interruption = Interruption(
        at=at, turns=turns, block_s=1.2 * DEADLINE_S, act=lambda: [task.cancel() for task in tasks]
    )
    try:
        async with listening(sidecar, chosen.socket):
            interruption.install()
            task = asyncio.create_task(TelemetryStream(made, chosen, lambda: ()).run(asyncio.Event()))
            tasks.append(task)
            await until(lambda: interruption.is_over)
            if await ends(task, PROMPT_S):
                return ""
            task.cancel()
            return f"await {at}, {turns} turns later, at {interruption.place}"
    finally:
        made.close()
