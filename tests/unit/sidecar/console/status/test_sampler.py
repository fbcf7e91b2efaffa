from __future__ import annotations

import asyncio
from dataclasses import replace

from sidecar.console.settings import ConsoleSettings
from sidecar.console.status.sampler import AuditTimeline, StatusSampler
from sidecar.console.status.time_series import PanelSample, StatusInputs, StatusSample, TimeSeries
from sidecar.secrets.audit import AuditEvent
from tests.unit.sidecar.console.sidecar_state import MOMENT, inputs

SETTINGS = ConsoleSettings(interval_s=0.1, history_s=10)


class FakeSource:
    """Sidecar that is open, closed, or broken and then stops the sampler at its third sample."""

    def __init__(self, state: str = "open") -> None:
        self.state = state
        self.calls = 0
        self.stop = asyncio.Event()

    def sample(self) -> StatusSample | None:
        self.calls += 1
        if self.state == "closed":
            return None
        if self.state == "broken":
            if self.calls == 3:
                self.stop.set()
            raise RuntimeError("a part is broken")
        return StatusSample(time_s=1.0, totals={}, panels=(PanelSample(),))

    def inputs(self, series: TimeSeries) -> StatusInputs:
        return replace(inputs(), series=series)


async def test_it_samples_tells_who_watches_and_ends_their_streams() -> None:
    source = FakeSource()
    sampler = StatusSampler(SETTINGS, source)
    messages = sampler.watchers.enter()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sampler.run(source.stop))
        assert (await messages.get() or b"").startswith(b"event: status")
        source.stop.set()
    assert messages.get_nowait() is None


async def test_a_sample_that_cannot_be_taken_does_not_end_it() -> None:
    source = FakeSource("broken")
    sampler = StatusSampler(SETTINGS, source)
    await asyncio.wait_for(sampler.run(source.stop), 120)
    assert source.calls == 3
    assert sampler.status().panels == []


async def test_what_is_not_open_yet_leaves_no_point() -> None:
    source = FakeSource("closed")
    sampler = StatusSampler(SETTINGS, source)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sampler.run(source.stop))
        await asyncio.sleep(0)
        source.stop.set()
    assert sampler.status().flow.in_.curve == []


def test_only_the_latest_actions_are_kept() -> None:
    timeline = AuditTimeline(kept=2)
    for generation in range(5):
        timeline.add(AuditEvent(time=MOMENT, name="secrets.publish", generation=generation))
    assert [item["generation"] for item in timeline.latest()] == [4, 3]
