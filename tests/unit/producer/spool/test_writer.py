from __future__ import annotations

from pathlib import Path

import pytest

from producer.spool.writer import WriterState
from tests.unit.producer.samples import LONG, SMALL, Chatter, emitter


def test_segments_are_named_by_session_and_first_sequence(tmp_path: Path) -> None:
    made = emitter(tmp_path, **SMALL)
    for _ in range(100):
        made.emit(Chatter(LONG))
    names = sorted(path.name for path in (tmp_path / "spool" / "s1").glob("*.spool"))
    assert names == ["00000000000000000001.spool", "00000000000000000064.spool"]


def test_tending_prepares_the_next_segment_and_closes_the_written_ones(tmp_path: Path) -> None:
    made = emitter(tmp_path, **SMALL)
    for _ in range(100):
        made.emit(Chatter(LONG))
    made.spool.maintain(1.0)
    first = made.spool.directory / "00000000000000000001.spool"
    assert first.stat().st_size < 1 << 16
    assert (made.spool.directory / "spare").stat().st_size == 1 << 16


def test_tending_says_if_there_was_anything_to_do(tmp_path: Path) -> None:
    made = emitter(tmp_path, **SMALL)
    found = [made.spool.maintain(1.0) for _ in range(2)]
    for _ in range(100):
        made.emit(Chatter(LONG))
    found += [made.spool.maintain(1.0) for _ in range(2)]
    assert found == [True, False, True, False]


def test_a_writer_is_open_then_full_then_open_again(tmp_path: Path) -> None:
    made = emitter(tmp_path, **SMALL)
    made.emit(Chatter("first"))
    states = [made.spool.writer.state]
    for _ in range(1000):
        made.emit(Chatter(LONG))
    states.append(made.spool.writer.state)
    made.spool.queue.acknowledge(made.spool.queue.last)
    made.emit(Chatter("again"))
    states.append(made.spool.writer.state)
    assert states == [WriterState.OPEN, WriterState.FULL, WriterState.OPEN]


def test_a_closed_writer_never_opens_again(tmp_path: Path) -> None:
    made = emitter(tmp_path)
    made.close()
    with pytest.raises(RuntimeError, match="closed cannot become open"):
        made.spool.writer._enter(WriterState.OPEN)


def test_a_writer_that_failed_and_was_closed_is_not_tried_again(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file stands where the directory should")
    made = emitter(tmp_path)
    made.close()
    (tmp_path / "spool").unlink()
    made.spool.maintain(100.0)
    assert made.spool.writer.state is WriterState.CLOSED
    assert not (tmp_path / "spool").exists()


def test_a_thread_that_holds_the_old_append_fails_as_in_a_full_segment(tmp_path: Path) -> None:
    made = emitter(tmp_path, **SMALL)
    made.emit(Chatter("first"))
    append = made.spool.writer.append
    for _ in range(100):
        made.emit(Chatter(LONG))
    with pytest.raises(ValueError, match="out of range"):
        append(b"late")
