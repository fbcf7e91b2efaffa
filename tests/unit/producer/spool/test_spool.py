from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from producer.spool import spool
from producer.spool.format import read_session
from tests.unit.producer.samples import LONG, SMALL, VISIT, Chatter, Visit, emitter, is_balanced, numbers, rows_in, sale

LIMIT = (1 << 20) - 2 * (1 << 16)
"""Two segments of the spool's bytes are kept for the current file and the spare one."""


class Volume:
    """Space of the volume as posix_fallocate sees it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.error: int | None = None
        self._real = os.posix_fallocate
        monkeypatch.setattr(os, "posix_fallocate", self._allocate)

    def _allocate(self, handle: int, offset: int, size: int) -> None:
        if self.error is not None:
            raise OSError(self.error, os.strerror(self.error))
        self._real(handle, offset, size)


@pytest.fixture
def volume(monkeypatch: pytest.MonkeyPatch) -> Volume:
    return Volume(monkeypatch)


def test_a_full_spool_keeps_its_reserve_for_reserved_events(tmp_path: Path) -> None:
    made = emitter(tmp_path, reserve_ratio=0.25, **SMALL)
    for _ in range(1000):
        made.emit(Chatter(LONG))
    taken = made.ledger().held
    assert 0.7 * LIMIT < made.ledger().spool_bytes <= 0.75 * LIMIT
    for number in range(2000):
        made.emit(sale(number, note=LONG))
    ledger = made.ledger()
    assert made.ledger().spool_bytes <= LIMIT
    assert ledger.held > taken + 150
    assert ledger.dropped == {
        ("shop.chatter", "spool_full"): 1000 - taken,
        ("shop.sale", "spool_full"): 2000 - (ledger.held - taken),
    }
    assert is_balanced(ledger)


def test_space_that_is_freed_is_used_again(tmp_path: Path) -> None:
    made = emitter(tmp_path, **SMALL)
    for _ in range(1000):
        made.emit(Chatter(LONG))
    made.spool.queue.acknowledge(made.spool.queue.last)
    before = made.spool.queue.last
    made.emit(Chatter("again"))
    assert made.spool.queue.last == before + 1


def test_closed_segments_are_read_from_their_files(tmp_path: Path) -> None:
    made = emitter(tmp_path, **{**SMALL, "spool_bytes": 64 << 20})
    for number in range(20_000):
        made.emit(Chatter(str(number)))
    assert made.spool.queue._segments[0].map is None
    assert numbers(made) == [str(number) for number in range(20_000)]


def test_files_hold_the_same_rows_as_memory(tmp_path: Path) -> None:
    made = emitter(tmp_path, **SMALL)
    for number in range(3000):
        made.emit(sale(number))
    in_files = [row[5] for path in sorted(made.spool.directory.glob("*.spool")) for row in rows_in(path)]
    assert in_files == numbers(made) == list(range(3000))


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_events_go_on_in_memory_where_the_volume_fails_and_back(tmp_path: Path, volume: Volume, error: int) -> None:
    made = emitter(tmp_path, **SMALL)
    made.emit(Chatter("first"))
    volume.error = error
    for _ in range(70):
        made.emit(Chatter(LONG))
    assert made.spool.writer.fault is not None
    assert made.spool.writer.fault.errno == error
    volume.error = None
    made.spool.maintain(100.0)
    made.emit(Chatter("last"))
    assert made.spool.writer.fault is None
    held = numbers(made)
    assert (held[0], held[-1], len(held)) == ("first", "last", 72)
    assert made.ledger().dropped == {}


def test_a_failed_volume_is_not_tried_at_each_turn(tmp_path: Path, volume: Volume) -> None:
    volume.error = errno.ENOSPC
    made = emitter(tmp_path, **SMALL)
    made.spool.maintain(10.0)
    volume.error = None
    made.spool.maintain(10.5)
    assert made.spool.writer.fault is not None
    made.spool.maintain(11.0)
    assert made.spool.writer.fault is None


def test_memory_is_bounded_and_keeps_its_reserve(tmp_path: Path, volume: Volume) -> None:
    volume.error = errno.ENOSPC
    made = emitter(tmp_path, reserve_ratio=0.5, **SMALL)
    for _ in range(1000):
        made.emit(Chatter(LONG))
    for number in range(1000):
        made.emit(sale(number, note=LONG))
    ledger = made.ledger()
    assert set(ledger.dropped) == {("shop.chatter", "memory_full"), ("shop.sale", "memory_full")}
    assert 1000 - ledger.dropped["shop.chatter", "memory_full"] == 8 * 63  # half of 16 parts of 64 KiB
    assert 1000 - ledger.dropped["shop.sale", "memory_full"] == 8 * 61
    assert made.spool.queue.memory_bytes <= 1 << 20
    made.spool.queue.acknowledge(made.spool.queue.last)
    made.emit(Chatter("again"))
    assert made.ledger().held == 1
    assert is_balanced(made.ledger())


def test_a_directory_that_cannot_be_made_is_a_fault_not_an_error(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file stands where the directory should")
    made = emitter(tmp_path)
    made.emit(sale(3))
    assert made.spool.writer.fault is not None
    assert numbers(made) == [3]


def test_threads_emit_while_the_loop_tends_reads_and_releases(tmp_path: Path) -> None:
    made = emitter(tmp_path, segment_bytes=1 << 16, spool_bytes=4 << 20)

    def work(start: int) -> None:
        for number in range(start, start + 4000):
            made.emit(Chatter(f"{number}"))

    threads = [threading.Thread(target=work, args=(start,)) for start in (0, 10_000, 20_000)]
    for thread in threads:
        thread.start()
    got: list[int] = []
    while any(thread.is_alive() for thread in threads) or made.spool.queue.held:
        made.spool.maintain(0.0)
        run = made.spool.queue.after(len(got), 300)
        assert run.first == len(got) + 1
        got += [int(row[3]) for row in run.rows]
        made.spool.queue.acknowledge(len(got))
    assert made.ledger().dropped == {}
    for start in (0, 10_000, 20_000):
        assert [number for number in got if start <= number < start + 4000] == list(range(start, start + 4000))


steps = st.lists(
    st.one_of(
        st.tuples(st.just("emit"), st.integers(1, 80)),
        st.tuples(st.just("acknowledge"), st.integers(0, 100)),
        st.tuples(st.just("fail"), st.sampled_from([None, errno.ENOSPC])),
        st.tuples(st.just("tend"), st.just(0)),
    ),
    max_size=25,
)


@given(steps)
@hypothesis_settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None, max_examples=40
)
def test_any_history_keeps_ledger_and_order(
    tmp_path_factory: pytest.TempPathFactory, volume: Volume, history: list[tuple[str, Any]]
) -> None:
    volume.error = None
    made = emitter(tmp_path_factory.mktemp("spool"), **SMALL)
    emitted, now_s, wanted = 0, 0.0, 0
    for step, value in history:
        now_s += 1.0
        if step == "emit":
            for _ in range(value):
                made.emit(Chatter(f"{emitted}:{LONG}"))
                emitted += 1
        elif step == "acknowledge":
            wanted = max(wanted, made.spool.queue.last * value // 100)
            made.spool.queue.acknowledge(wanted)
        elif step == "fail":
            volume.error = value
        else:
            made.spool.maintain(now_s)
        ledger = made.ledger()
        assert is_balanced(ledger)
        assert (ledger.emitted, ledger.acknowledged) == (emitted, wanted)
    held = [int(text.partition(":")[0]) for text in numbers(made, wanted)]
    assert len(held) == made.ledger().held
    assert held == sorted(held)
    made.close()


def test_a_successor_reads_the_meaning_of_a_late_type(tmp_path: Path) -> None:
    made = emitter(tmp_path)
    made.declare(VISIT)
    names = [item.name for item in read_session(made.spool.directory).defines]
    assert names == ["shop.sale", "shop.chatter", "shop.visit"]


def test_events_of_a_late_type_wait_in_memory_while_its_meaning_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = emitter(tmp_path)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(spool, "extend_session", full)
        made.declare(VISIT)
        made.emit(Visit("front"))
        made.spool.maintain(100.0)
        assert made.spool.writer.fault is not None
    made.spool.maintain(200.0)
    made.emit(Visit("back"))
    assert made.spool.writer.fault is None
    assert [row[3] for row in made.spool.queue.after(0, 1).rows + made.spool.queue.after(1, 9).rows] == [
        "front",
        "back",
    ]
    assert [item.name for item in read_session(made.spool.directory).defines][2:] == ["shop.visit"]
