"""A volume that is full, read-only or too small: events wait or go by the stated rules, and nothing else breaks."""

from __future__ import annotations

import asyncio
import errno
import os
from contextlib import suppress
from pathlib import Path

import pytest
from grpc.aio import AioRpcError

from pod_runtime.framing import HEADER_BYTES
from pod_runtime.run import persist
from sidecar.journal.volume import MemoryVolume
from sidecar.pipeline import TelemetryPipeline
from sidecar.telemetry.model import JournalPosition
from tests.failing_files import ERRORS, failing, failing_at
from tests.unit.sidecar.batches import TIME_NS, Client, batch, filled, hello, order_define, sample_define, samples
from tests.unit.sidecar.served_pipeline import pipeline_settings, served
from tests.unit.sidecar.sick_volume import SickVolume


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
async def test_while_the_volume_takes_nothing_nothing_is_acknowledged_and_then_all_is(
    tmp_path: Path, code: int
) -> None:
    volume = SickVolume()
    pipeline = TelemetryPipeline(settings=pipeline_settings(tmp_path), clock=lambda: TIME_NS, volume=volume)
    await pipeline.open()
    async with served(pipeline), Client(pipeline.settings.socket) as client:
        await client.open()
        client.send(define=order_define())
        client.send(batch=batch(1, filled(2)))
        await client.acknowledged(2)
        volume.error = code
        client.send(batch=batch(3, filled(2)))
        while not pipeline.journal_status().error:
            await asyncio.sleep(0.01)
        assert pipeline.ledger().events.counted == 2
        volume.error = 0
        await client.acknowledged(4)
        assert pipeline.journal_status().error == ""
        assert pipeline.ledger().events.counted == 4


async def test_what_a_failed_sync_left_open_is_never_acknowledged(tmp_path: Path) -> None:
    volume = SickVolume()
    settings = pipeline_settings(tmp_path, durability="disk", checkpoint_interval_s=60.0)
    pipeline = TelemetryPipeline(settings=settings, clock=lambda: TIME_NS, volume=volume)
    await pipeline.open()
    async with served(pipeline), Client(settings.socket) as client:
        await client.open()
        client.send(define=order_define())
        client.send(batch=batch(1, filled(2)))
        await client.acknowledged(2)
        volume.sync_error = errno.EIO
        client.send(batch=batch(3, filled(2)))
        while not pipeline.journal_status().error:
            await asyncio.sleep(0.01)
        volume.sync_error = 0
        client.send(batch=batch(5, filled(2)))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await client.acknowledged(3)
        assert "restart the sidecar" in pipeline.journal_status().error


async def test_a_full_journal_drops_the_oldest_log_records_by_type_and_no_metric(tmp_path: Path) -> None:
    volume = MemoryVolume()
    limits = {"segment_bytes": 64 << 10, "journal_bytes": 1 << 20, "memory_bytes": 0}
    pipeline = TelemetryPipeline(settings=pipeline_settings(tmp_path, **limits), clock=lambda: TIME_NS, volume=volume)
    await pipeline.open()
    async with served(pipeline), Client(pipeline.settings.socket) as client:
        await client.open()
        client.send(define=order_define())
        client.send(define=sample_define())
        sent = 0
        while not pipeline.ledger().logs.dropped:
            client.send(batch=batch(sent + 1, filled(1000, sent)))
            client.send(batch=batch(sent + 1001, samples([("rest", 1)])))
            sent += 1001
            await client.acknowledged(sent)
            await asyncio.sleep(0.01)
        ledger = pipeline.ledger()
        assert ledger.balanced
        assert set(ledger.logs.dropped) == {("journal_full", "order.transition")}
        assert ledger.events.counted == sent
        (taken, *_) = await pipeline.state.log_queue.wait_batches(pipeline.state.log_queue.cursor, 1)
        assert taken.batch.first_sequence > 1
    again = TelemetryPipeline(settings=pipeline_settings(tmp_path, **limits), clock=lambda: TIME_NS, volume=volume)
    await again.open()
    assert again.ledger() == pipeline.ledger()
    assert again.snapshot() == pipeline.snapshot()


async def test_a_journal_whose_segments_are_lost_never_goes_back(tmp_path: Path) -> None:
    volume = MemoryVolume()
    pipeline = TelemetryPipeline(settings=pipeline_settings(tmp_path), clock=lambda: TIME_NS, volume=volume)
    await pipeline.open()
    pipeline._journal.append([b"-"])
    await pipeline.checkpoints.write()
    for name in [name for name in volume.files if name.endswith(".journal")]:
        del volume.files[name]
    again = TelemetryPipeline(settings=pipeline_settings(tmp_path), clock=lambda: TIME_NS, volume=volume)
    await again.open()
    assert again._journal.end == JournalPosition(2, HEADER_BYTES)


async def test_sync_that_has_no_descriptor_is_tried_again_and_is_no_failed_one(tmp_path: Path) -> None:
    settings = pipeline_settings(tmp_path, durability="disk", checkpoint_interval_s=60.0)
    pipeline = TelemetryPipeline(settings=settings, clock=lambda: TIME_NS)
    await pipeline.open()
    async with served(pipeline), Client(settings.socket) as client:
        await client.open()
        client.send(define=order_define())
        client.send(batch=batch(1, filled(2)))
        await client.acknowledged(2)
        with failing(errno.EMFILE, lambda _, name: name == "dup") as layer:
            client.send(batch=batch(3, filled(2)))
            while len(layer.failed) < 2:
                await asyncio.sleep(0.01)
        await client.acknowledged(4)
        assert pipeline.journal_status().error == ""
    await pipeline.close()


SWEEP_STEP = int(os.environ.get("SWEEP_STEP", "4"))
"""Of the calls of a pipeline's life, each so many-th fails; a soak takes all of them."""


@pytest.mark.parametrize("error", ERRORS, ids=errno.errorcode.get)
async def test_fault_at_any_call_ends_no_pipeline_and_loses_no_event_that_was_acknowledged(
    tmp_path: Path, error: int
) -> None:
    with failing(error, lambda *_: False) as layer:
        await live_through(tmp_path / "whole")
    for number in range(1, layer.calls + 1, SWEEP_STEP):
        place = tmp_path / str(number)
        with failing_at(number, error):
            await live_through(place)
        again = TelemetryPipeline(settings=pipeline_settings(place), clock=lambda: TIME_NS)
        await again.open()
        assert again.ledger().events.counted == 6, (number, error)
        await again.close()


async def live_through(place: Path) -> None:
    """Runs a pipeline that takes six events, in segments of two."""
    settings = pipeline_settings(place, segment_bytes=64)
    pipeline = TelemetryPipeline(settings=settings, clock=lambda: TIME_NS)
    await persist("journal", pipeline.open)
    async with served(pipeline):
        while True:
            async with Client(settings.socket) as client:
                client.send(hello=hello())
                # Refused while the journal cannot write its Hello: a producer connects again.
                with suppress(AioRpcError):
                    await client.receive()
                    client.send(define=order_define())
                    for first in (1, 3, 5):
                        client.send(batch=batch(first, filled(2)))
                        await client.acknowledged(first + 1)
                    break
    await pipeline.close()
