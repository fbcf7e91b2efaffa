from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.telemetry.emitter_and_sidecar import LoadNotes, TelemetryProcesses
from tests.e2e.telemetry.load import event
from tests.otlp_receiver import OtlpReceiver

pytestmark = [pytest.mark.real, pytest.mark.slow]
KILLS = int(os.environ.get("TELEMETRY_KILLS", "14"))
OUTAGE_S = float(os.environ.get("TELEMETRY_OUTAGE_S", "3"))
STALL_S = float(os.environ.get("TELEMETRY_STALL_S", "2"))
SEED = int(os.environ.get("TELEMETRY_SEED", "0")) or random.randrange(1, 1 << 30)


@pytest.fixture
async def processes(tmp_path: Path, receiver: OtlpReceiver) -> AsyncIterator[TelemetryProcesses]:
    async with TelemetryProcesses(tmp_path, endpoint=receiver.endpoint) as made:
        yield made


async def settled(processes: TelemetryProcesses, receiver: OtlpReceiver, deadline_s: float = 120.0) -> LoadNotes:
    """Ends the load in order and waits until the sidecar has exported every record."""
    assert processes.load is not None
    assert await processes.load.stop(30) == 0, processes.load.last_lines()
    notes = processes.notes()
    async with asyncio.timeout(deadline_s):
        while await processes.queued():
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.3)  # anything too many would come now
    return notes


def expected(numbers: list[int]) -> dict[tuple[str, str], float]:
    """Samples that /metrics must show of these numbers, each once."""
    found: Counter[tuple[str, str]] = Counter()
    for number in numbers:
        one = event(number)
        found["broker_orders_total", one.status] += 1
        if one.duration_s is not None:
            found["broker_order_duration_seconds_count", one.status] += 1
            found["broker_order_duration_seconds_sum", one.status] += one.duration_s  # type: ignore[assignment] # a count of seconds
    return dict(found)


def fields(number: int) -> dict[str, Any]:
    return {name: value for name, value in event(number)._asdict().items() if value is not None}


async def check(processes: TelemetryProcesses, receiver: OtlpReceiver, notes: LoadNotes) -> None:
    records = receiver.by_id.values()
    told = sorted(int(record["attributes"]["order_id"]) for record in records)
    assert len(told) == len(set(told)), "one event has two ids"
    assert notes.done <= set(told) <= notes.begun
    for record in records:
        wanted = fields(int(record["attributes"]["order_id"]))
        assert {name: record["attributes"][name] for name in wanted} == wanted
    samples = await processes.samples()
    names = ("broker_orders_total", "broker_order_duration_seconds_count", "broker_order_duration_seconds_sum")
    assert {key: value for key, value in samples.items() if key[0] in names and value} == expected(told)


async def test_killed_at_any_moment_every_event_counts_once(
    processes: TelemetryProcesses, receiver: OtlpReceiver
) -> None:
    chance = random.Random(SEED)
    print(f"seed {SEED}, {KILLS} kills")
    await processes.start_sidecar()
    await processes.start_load()
    for _ in range(KILLS):
        await asyncio.sleep(chance.uniform(0.0, 0.5))
        await processes.kill(chance.choice(("sidecar", "load")))
    await asyncio.sleep(0.3)
    notes = await settled(processes, receiver)
    print(f"{len(notes.done)} events, {receiver.duplicates} redelivered records")
    assert len(notes.done) > 100
    await check(processes, receiver, notes)


async def test_a_stopped_sidecar_costs_no_event(processes: TelemetryProcesses, receiver: OtlpReceiver) -> None:
    await processes.start_sidecar()
    await processes.start_load()
    await asyncio.sleep(0.3)
    assert processes.sidecar is not None
    processes.sidecar.process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(STALL_S)
    processes.sidecar.process.send_signal(signal.SIGCONT)
    await check(processes, receiver, await settled(processes, receiver))


async def test_a_collector_that_is_gone_for_long_costs_no_record(
    processes: TelemetryProcesses, receiver: OtlpReceiver
) -> None:
    """45 s and 10 min in a soak; at 200 records a second the stock SDK loses half of them in 45 s."""
    await processes.start_sidecar()
    processes.rate = 200
    await processes.start_load()
    await asyncio.sleep(0.5)
    await receiver.die()
    await asyncio.sleep(OUTAGE_S)
    await receiver.revive()
    await check(processes, receiver, await settled(processes, receiver, 120.0))


async def test_what_a_killed_load_left_arrives_without_its_sidecar_at_the_time(
    processes: TelemetryProcesses, receiver: OtlpReceiver
) -> None:
    await processes.start_load()
    await asyncio.sleep(0.5)
    await processes.kill("load")
    await processes.start_sidecar()
    await check(processes, receiver, await settled(processes, receiver))
