"""Files that version 1 has written are read for ever: journal-v1.bin and checkpoint-v1.bin are its golden bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from pod_runtime.files.framing import FormatError, records
from sidecar.checkpoint import format as checkpoints
from sidecar.checkpoint.format import Checkpoint
from sidecar.journal.segment import segment_name
from sidecar.journal.volume import MemoryVolume
from sidecar.telemetry.model import JournalPosition, Number
from tests.unit.sidecar.batches import TIME_NS
from tests.unit.sidecar.telemetry_core import TelemetryCore, encoded

DATA = Path(__file__).parents[3] / "data" / "telemetry"
JOURNAL = (DATA / "journal-v1.bin").read_bytes()
CHECKPOINT = (DATA / "checkpoint-v1.bin").read_bytes()


def volume(*, checkpoint: bool) -> MemoryVolume:
    made = MemoryVolume()
    made.files[segment_name(1)] = bytearray(JOURNAL)
    if checkpoint:
        made.files[checkpoints.FILE] = bytearray(CHECKPOINT)
    return made


def test_the_golden_journal_has_every_kind_of_record() -> None:
    assert {record.payload[:1] for record in records(JOURNAL)} == {b"S", b"G", b"D", b"B", b"K", b"E", b"L", b"X"}


@pytest.mark.parametrize("checkpoint", [True, False])
def test_version_1_is_read(checkpoint: bool) -> None:
    core = TelemetryCore(volume(checkpoint=checkpoint))
    ledger = core.counts.ledger(core.log_queue.queued)
    assert ledger.balanced
    assert (ledger.events.counted, dict(ledger.events.rejected)) == (18, {"column_length": 2})
    assert {key: state.durable_through for key, state in core.telemetry_state.sessions.items()} == {
        ("a", "s1"): 14,
        ("a", "s2"): 3,
        ("b", "old"): 3,
    }
    assert len(set(core.log_sequences())) == 12
    first, second = core.aggregate.snapshot(2 * TIME_NS).producers
    labels = (("status", "status1"), ("broker", "oanda"))
    assert first.families[1].points[0] == Number(labels, TIME_NS + 2_000_000, TIME_NS + 8_000_000, 3)
    assert second.families[0].points == [Number(labels, TIME_NS + 4_000_000, TIME_NS + 4_000_000, 1)]


def test_a_checkpoint_says_what_it_said() -> None:
    found = checkpoints.decode(CHECKPOINT)
    assert found.instance_id == "instance"
    assert found.position == JournalPosition(1, 1210)
    assert encoded(found) == CHECKPOINT


@pytest.mark.parametrize(
    "data", [b"", b"ELSE\x01\x00\x00\x00", b"TELC\x02\x00\x00\x00", CHECKPOINT[:-1], CHECKPOINT[:200], CHECKPOINT[:8]]
)
def test_a_checkpoint_that_is_cut_or_of_another_version_is_not_guessed_at(data: bytes) -> None:
    with pytest.raises(FormatError):
        checkpoints.decode(data)


def test_a_newer_journal_is_set_aside_whole() -> None:
    newer = volume(checkpoint=False)
    newer.files[segment_name(1)][4] = 2
    core = TelemetryCore(newer)
    assert core.counts.ledger(0).events.counted == 0
    assert core.journal.damaged_bytes == len(JOURNAL)
    assert len(newer.files[segment_name(1) + ".damaged"]) == len(JOURNAL)


def test_an_empty_checkpoint_comes_back() -> None:
    assert checkpoints.decode(encoded(Checkpoint())).aggregate == []
