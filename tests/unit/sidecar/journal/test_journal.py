from __future__ import annotations

import errno

import pytest

from sidecar.journal.journal import EventJournal
from sidecar.journal.segment import segment_name
from tests.unit.sidecar.sick_volume import SickVolume
from tests.unit.sidecar.telemetry_core import TelemetryCore


def test_a_damaged_record_is_set_aside_counted_and_the_rest_is_used() -> None:
    core = TelemetryCore()
    for first in (1, 4, 7):
        core.send("a", "s1", 3, first)
    segment = core.journal.segments[0]
    name = segment_name(segment)
    places = [record for record, _, said in core.journal.read(segment) or () if hasattr(said, "raw")]
    core.volume.files[name][places[0].end - 1] ^= 1
    again = core.killed()
    assert name + ".damaged" in again.volume.files
    assert (again.journal.damaged_segments, again.journal.damaged_bytes) == (1, places[0].end - places[0].start)
    assert [sequence for _, _, sequence in again.log_sequences()] == [4, 5, 7, 8]


def test_a_segment_whose_header_is_gone_is_set_aside_and_the_others_are_used() -> None:
    core = TelemetryCore()
    for first in range(1, 30, 3):
        core.send("a", "s1", 3, first)
    assert len(core.journal.segments) > 2
    core.volume.files[segment_name(core.journal.segments[0])][:4] = b"????"
    again = core.killed()
    assert again.journal.damaged_segments == 1
    assert again.stream("a", "s1").state.durable_through == 30
    assert again.counts.ledger(again.log_queue.queued).balanced


def test_only_the_youngest_damaged_segments_are_kept() -> None:
    core = TelemetryCore()
    for first in range(1, 61, 3):
        core.send("a", "s1", 3, first)
    for segment in core.journal.segments:
        core.volume.files[segment_name(segment)][:4] = b"????"
    damaged = [name for name in core.killed().volume.files if name.endswith(".damaged")]
    assert len(damaged) == 4


def journal_after_a_failed_sync(*, outlives_machine: bool) -> tuple[EventJournal, SickVolume]:
    volume = SickVolume()
    journal = EventJournal(volume, segment_bytes=1 << 20, outlives_machine=outlives_machine)
    volume.error = errno.EIO
    with pytest.raises(OSError, match="Input/output"):
        journal.sync()
    volume.error = 0
    return journal, volume


def test_a_sync_that_failed_is_final_where_records_must_outlive_the_machine() -> None:
    journal, volume = journal_after_a_failed_sync(outlives_machine=True)
    with pytest.raises(OSError, match="restart the sidecar"):
        journal.write_beside("checkpoint", b"state")
    assert "checkpoint" not in volume.files


def test_a_sync_that_failed_is_tried_again_where_records_outlive_the_process_only() -> None:
    journal, volume = journal_after_a_failed_sync(outlives_machine=False)
    journal.write_beside("checkpoint", b"state")
    assert volume.files["checkpoint"] == b"state"
