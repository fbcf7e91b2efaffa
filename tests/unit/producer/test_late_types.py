"""Event types that are declared while the program runs."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from producer.declare import Event
from producer.spool import writer as spool
from producer.spool.format import SessionMeta, extend_session, lock_session, read_session
from tests.unit.producer.fake_sidecar import SidecarFake, listening, until
from tests.unit.producer.samples import emitter, sale
from tests.unit.producer.stream.test_client import streaming


class Visit(NamedTuple):
    """Somebody came in."""

    door: str


VISIT = Event(Visit, "shop.visit")


def test_its_events_are_taken_like_all_others(tmp_path: Path) -> None:
    made = emitter(tmp_path)
    made.declare(VISIT)
    made.emit(Visit("front"))
    assert [(row[0], row[3]) for row in made.spool.after(0, 9).rows] == [(3, "front")]
    assert made.ledger().dropped == {}


def test_a_successor_reads_what_it_means(tmp_path: Path) -> None:
    made = emitter(tmp_path)
    made.declare(VISIT)
    names = [item.name for item in read_session(made.spool.directory).defines]
    assert names == ["shop.sale", "shop.chatter", "shop.visit"]


def test_the_session_stays_locked(tmp_path: Path) -> None:
    made = emitter(tmp_path)
    made.declare(VISIT)
    assert lock_session(made.spool.directory) is None


def test_a_session_file_that_is_cut_while_it_is_extended_can_be_read(tmp_path: Path) -> None:
    made = emitter(tmp_path)
    short = read_session(made.spool.directory)
    size = (made.spool.directory / "session").stat().st_size
    extend_session(
        made.spool.directory, SessionMeta(**{**_plain(short), "defines": (*short.defines, short.defines[0])})
    )
    for kept in range(size, (made.spool.directory / "session").stat().st_size):
        os.truncate(made.spool.directory / "session", kept)
        assert read_session(made.spool.directory) == short


def _plain(meta: SessionMeta) -> dict[str, Any]:
    return {name: getattr(meta, name) for name in SessionMeta.__slots__}


def test_where_the_volume_fails_its_events_wait_in_memory_and_the_meaning_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = emitter(tmp_path)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(spool, "extend_session", full)
        made.declare(VISIT)
        made.emit(Visit("front"))
        made.spool.tend(100.0)
        assert made.spool.fault is not None
    made.spool.tend(200.0)
    made.emit(Visit("back"))
    assert made.spool.fault is None
    assert [row[3] for row in made.spool.after(0, 1).rows + made.spool.after(1, 9).rows] == ["front", "back"]
    assert [item.name for item in read_session(made.spool.directory).defines][2:] == ["shop.visit"]


def test_threads_that_declare_at_once_get_ids_of_their_own(tmp_path: Path) -> None:
    made = emitter(tmp_path)
    kinds = [type(f"Kind{number}", (Visit,), {}) for number in range(20)]
    events = [Event(kind, f"shop.kind{number}") for number, kind in enumerate(kinds)]
    threads = [threading.Thread(target=made.declare, args=(event,)) for event in events]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(item.event_id for item in made.spool.meta.defines) == list(range(1, 23))


async def test_the_open_stream_hears_of_it_before_its_first_event(tmp_path: Path) -> None:
    made, fake = emitter(tmp_path), SidecarFake()
    async with listening(fake, tmp_path / "run" / "t.sock"), streaming(tmp_path, made):
        made.emit(sale())
        await until(lambda: made.ledger().acknowledged == 1)
        made.declare(VISIT)
        made.emit(Visit("front"))
        await until(lambda: made.ledger().acknowledged == 2)
    assert fake.defines[3].name == "shop.visit"
    assert fake.faults == []
    assert len(fake.hellos) == 1


def test_what_is_refused_by_name_stands_in_the_ledger(tmp_path: Path) -> None:
    made = emitter(tmp_path)
    made.refuse("shop.visit", "too_many_types")
    ledger = made.ledger()
    assert (ledger.emitted, ledger.dropped) == (1, {("shop.visit", "too_many_types"): 1})
