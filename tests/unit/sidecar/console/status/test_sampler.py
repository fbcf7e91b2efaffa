from __future__ import annotations

import asyncio
from dataclasses import replace

from sidecar.config import ConsoleSettings
from sidecar.console.status.document import Parts
from sidecar.console.status.sampler import Picture
from sidecar.console.status.time_series import History, PanelSample, Sample
from tests.unit.sidecar.console.sidecar_state import parts

SETTINGS = ConsoleSettings(interval_s=0.1, history_s=10)


def sample() -> Sample:
    return Sample(time_s=1.0, totals={}, panels=(PanelSample(),))


def gather(history: History) -> Parts:
    return replace(parts(), history=history)


async def test_it_samples_tells_who_watches_and_ends_their_streams() -> None:
    picture, stop = Picture(SETTINGS, sample=sample, gather=gather), asyncio.Event()
    messages = picture.watchers.enter()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(picture.run(stop))
        assert (await messages.get() or b"").startswith(b"event: status")
        stop.set()
    assert messages.get_nowait() is None


async def test_a_sample_that_cannot_be_taken_does_not_end_it() -> None:
    calls = 0

    def broken() -> Sample:
        nonlocal calls
        calls += 1
        if calls == 3:
            stop.set()
        raise RuntimeError("a part is broken")

    picture, stop = Picture(SETTINGS, sample=broken, gather=gather), asyncio.Event()
    await asyncio.wait_for(picture.run(stop), 10)
    assert calls == 3
    assert picture.status()["panels"] == []


async def test_what_is_not_open_yet_leaves_no_point() -> None:
    picture, stop = Picture(SETTINGS, sample=lambda: None, gather=gather), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(picture.run(stop))
        await asyncio.sleep(0)
        stop.set()
    assert picture.status()["flow"]["in"]["curve"] == []
