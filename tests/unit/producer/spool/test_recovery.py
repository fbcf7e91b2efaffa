from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from pod_runtime.framing import FormatError, file_version
from producer.spool.format import read_session
from producer.spool.recovery import forget, leftovers
from producer.spool.unacked_queue import Leftover
from tests.unit.producer.samples import SHOP, START_NS, Chatter, emitter, sale

GOLDEN = Path(__file__).parents[3] / "data" / "spool" / "version-1"


def killed(place: Path, count: int, session_id: str = "dead") -> Path:
    """A session as a killed process leaves it: nothing closed, the lock gone."""
    made = emitter(place, session_id=session_id, segment_bytes=1 << 16, spool_bytes=1 << 20)
    for number in range(count):
        made.emit(sale(number))
    assert made.spool._session_lock is not None
    os.close(made.spool._session_lock)
    return made.spool.directory


def found(place: Path) -> list[Leftover]:
    return list(leftovers(place / "spool", "s1"))


def rows_of(leftover: Leftover) -> list[int]:
    return [row[5] for row in leftover.after(leftover.first - 1, 10_000).rows]


def test_a_successor_finds_what_a_killed_process_left(tmp_path: Path) -> None:
    killed(tmp_path, 50)
    (leftover,) = found(tmp_path)
    assert (leftover.meta.producer_id, leftover.meta.session_id) == ("broker", "dead")
    assert leftover.meta.started_ns == START_NS
    assert leftover.meta.defines == SHOP.defines({"broker": "oanda"})
    assert (leftover.first, leftover.held, rows_of(leftover)) == (1, 50, list(range(50)))


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
    (leftover,) = found(tmp_path)
    forget(leftover)
    assert directory.exists()
    (leftover,) = found(tmp_path)
    leftover.acknowledge(5)
    forget(leftover)
    assert not directory.exists()


def test_acknowledged_events_of_a_leftover_are_not_sent_again(tmp_path: Path) -> None:
    killed(tmp_path, 10)
    (leftover,) = found(tmp_path)
    leftover.acknowledge(6)
    assert (leftover.first, leftover.held, rows_of(leftover)) == (7, 4, [6, 7, 8, 9])


def test_a_file_cut_at_any_byte_gives_the_whole_events_before(tmp_path: Path) -> None:
    directory = killed(tmp_path, 4)
    segment = directory / "00000000000000000001.spool"
    whole = segment.read_bytes().rstrip(b"\0")
    ends = [len(whole) * part // 60 for part in range(60)]
    counts = []
    for end in ends:
        segment.write_bytes(whole[:end])
        (leftover,) = found(tmp_path)
        counts.append(leftover.held)
        assert rows_of(leftover) == list(range(leftover.held))
        os.close(leftover.lock)
    assert counts == sorted(counts)
    assert set(counts) == {0, 1, 2, 3}


def test_events_behind_a_damaged_segment_are_kept(tmp_path: Path) -> None:
    directory = killed(tmp_path, 3000)
    first, second, *_ = sorted(directory.glob("*.spool"))
    first.write_bytes(b"nonsense")
    (leftover,) = found(tmp_path)
    assert leftover.first == int(second.stem)
    assert leftover.held == 3000 - int(second.stem) + 1


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
    (leftover,) = found(tmp_path)
    assert leftover.meta.session_id == "golden"
    assert leftover.meta.resource == (("service.name", "broker"),)
    assert [define.name for define in leftover.meta.defines] == ["shop.sale", "shop.chatter"]
    assert list(leftover.after(0, 9).rows) == [
        (1, START_NS, None, "north", 2.5, 1, True, None, None),
        (2, START_NS, bytes(range(25)), "grüezi"),
        (1, START_NS, None, "south", -1.0, -(1 << 40), False, "note", 0.25),
    ]


def test_a_file_of_a_later_version_is_named(tmp_path: Path) -> None:
    directory = killed(tmp_path, 1)
    data = bytearray((directory / "session").read_bytes())
    data[4] = 2
    (directory / "session").write_bytes(data)
    assert file_version(bytes(data), b"TSES") == 2
    with pytest.raises(FormatError, match="spool version 2; this program reads 1"):
        read_session(directory)
