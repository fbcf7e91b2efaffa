from __future__ import annotations

from pathlib import Path

from sidecar.checkpoint.format import Checkpoint
from sidecar.journal.volume import MemoryVolume
from sidecar.pipeline import TelemetryPipeline
from tests.unit.sidecar.batches import TIME_NS, Client, batch, filled, order_define
from tests.unit.sidecar.served_pipeline import pipeline_settings, served
from tests.unit.sidecar.telemetry_core import encoded


async def test_a_damaged_checkpoint_is_set_aside(tmp_path: Path) -> None:
    volume = MemoryVolume()
    volume.files["checkpoint"] = bytearray(b"TELC\x63\x00\x00\x00")
    pipeline = TelemetryPipeline(pipeline_settings(tmp_path), clock=lambda: TIME_NS, volume=volume)
    await pipeline.open()
    assert bytes(volume.files["checkpoint.damaged"]) == b"TELC\x63\x00\x00\x00"
    assert pipeline.instance_id != ""


async def test_a_checkpoint_whose_rows_mean_nothing_is_set_aside_and_the_journal_replayed(tmp_path: Path) -> None:
    volume = MemoryVolume()
    first = TelemetryPipeline(pipeline_settings(tmp_path), clock=lambda: TIME_NS, volume=volume)
    await first.open()
    async with served(first), Client(first._settings.socket) as client:
        await client.open()
        client.send(define=order_define())
        client.send(batch=batch(1, filled(2)))
        await client.acknowledged(2)
    volume.files["checkpoint"] = bytearray(encoded(Checkpoint(aggregate=[["table", "nobody"]])))
    again = TelemetryPipeline(pipeline_settings(tmp_path), clock=lambda: TIME_NS, volume=volume)
    await again.open()
    assert "checkpoint.damaged" in volume.files
    assert again.ledger().events.counted == 2
