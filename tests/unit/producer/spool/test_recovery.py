from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from producer.spool.recovery import OrphanedSession, orphaned_sessions
from tests.unit.producer.samples import SHOP, START_NS, Chatter, emitter, sale, unlock

GOLDEN = Path(__file__).parents[3] / "data" / "spool" / "version-1"


def killed(place: Path, count: int, session_id: str = "dead") -> Path:
    """A session as a killed process leaves it: nothing closed, the lock gone."""
    made = emitter(place, session_id=session_id, segment_bytes=1 << 16, spool_bytes=1 << 20)
    for number in range(count):
        made.emit(sale(number))
    return unlock(made)


def found(place: Path) -> list[OrphanedSession]:
    return list(orphaned_sessions(place / "spool", "s1"))


def rows_of(orphan: OrphanedSession) -> list[int]:
    return [row[5] for row in orphan.queue.after(orphan.queue.first - 1, 10_000).rows]


def test_a_successor_finds_what_a_killed_process_left(tmp_path: Path) -> None:
    killed(tmp_path, 50)
    (orphan,) = found(tmp_path)
    assert (orphan.queue.meta.producer_id, orphan.queue.meta.session_id) == ("broker", "dead")
    assert orphan.queue.meta.started_ns == START_NS
    assert orphan.queue.meta.defines == SHOP.defines({"broker": "oanda"})
    assert (orphan.queue.first, orphan.queue.held, rows_of(orphan)) == (1, 50, list(range(50)))


def test_the_session_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    living = emitter(tmp_path, session_id="living")
    living.emit(Chatter("mine"))
    assert found(tmp_path) == []


def test_two_successors_do_not_take_the_same_session(tmp_path: Path) -> None:
    killed(tmp_path, 1)
    assert len(found(tmp_path)) == 1
    assert found(tmp_path) == []


def test_our_own_session_is_no_leftover(tmp_path: Path) -> None:
    killed(tmp_path, 1, session_id="s1")
    assert found(tmp_path) == []


def test_a_delivered_session_is_removed_and_another_stays(tmp_path: Path) -> None:
    directory = killed(tmp_path, 5)
    (orphan,) = found(tmp_path)
    orphan.release()
    assert directory.exists()
    (orphan,) = found(tmp_path)
    orphan.queue.acknowledge(5)
    orphan.release()
    assert not directory.exists()


def test_acknowledged_events_of_a_leftover_are_not_sent_again(tmp_path: Path) -> None:
    killed(tmp_path, 10)
    (orphan,) = found(tmp_path)
    orphan.queue.acknowledge(6)
    assert (orphan.queue.first, orphan.queue.held, rows_of(orphan)) == (7, 4, [6, 7, 8, 9])


def test_a_file_cut_at_any_byte_gives_the_whole_events_before(tmp_path: Path) -> None:
    directory = killed(tmp_path, 4)
    segment = directory / "00000000000000000001.spool"
    whole = segment.read_bytes().rstrip(b"\0")
    ends = [len(whole) * part // 60 for part in range(60)]
    counts = []
    for end in ends:
        segment.write_bytes(whole[:end])
        (orphan,) = found(tmp_path)
        counts.append(orphan.queue.held)
        assert rows_of(orphan) == list(range(orphan.queue.held))
        os.close(orphan.lock_handle)
    assert counts == sorted(counts)
    assert set(counts) == {0, 1, 2, 3}


def test_events_behind_a_damaged_segment_are_kept(tmp_path: Path) -> None:
    directory = killed(tmp_path, 3000)
    first, second, *_ = sorted(directory.glob("*.spool"))
    first.write_bytes(b"nonsense")
    (orphan,) = found(tmp_path)
    assert orphan.queue.first == int(second.stem)
    assert orphan.queue.held == 3000 - int(second.stem) + 1


@pytest.mark.parametrize("content", [b"", b"nonsense", b"TSES\x02\0\0\0"])
def test_a_session_that_cannot_be_read_is_set_aside(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    directory = killed(tmp_path, 1)
    (directory / "session").write_bytes(content)
    assert found(tmp_path) == []
    assert [path.name for path in (tmp_path / "spool").iterdir()] == ["dead.unreadable"]
    assert "spool set aside" in caplog.text
    assert found(tmp_path) == []


def test_a_directory_without_session_and_events_is_removed(tmp_path: Path) -> None:
    (tmp_path / "spool" / "half").mkdir(parents=True)
    assert found(tmp_path) == []
    assert list((tmp_path / "spool").iterdir()) == []


def test_no_spool_is_no_leftover(tmp_path: Path) -> None:
    assert found(tmp_path) == []


def test_the_files_of_version_1_are_read(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN, tmp_path / "spool" / "golden")
    (orphan,) = found(tmp_path)
    assert orphan.queue.meta.session_id == "golden"
    assert orphan.queue.meta.resource == (("service.name", "broker"),)
    assert [define.name for define in orphan.queue.meta.defines] == ["shop.sale", "shop.chatter"]
    assert list(orphan.queue.after(0, 9).rows) == [
        (1, START_NS, None, "north", 2.5, 1, True, None, None),
        (2, START_NS, bytes(range(25)), "grüezi"),
        (1, START_NS, None, "south", -1.0, -(1 << 40), False, "note", 0.25),
    ]
