from __future__ import annotations

import asyncio
import errno
import os
import threading
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.domain import OrderStatus
from broker.orders.model.trading_state import AccountControl, TradingState
from broker.orders.store.journal import (
    OrderJournal,
    OrderJournalError,
    decode_payload,
    encode_control,
    encode_order,
    segments,
)
from pod_runtime.files.framing import FormatError
from tests.failing_files import ERRORS, failing, failing_at
from tests.unit.broker.orders.samples import make_record, make_settings, opened_journal


def test_appended_records_are_read_at_the_next_start_without_a_close(tmp_path: Path) -> None:
    journal, _ = opened_journal(tmp_path)
    assert [journal.append(b"oA"), journal.append(b"oB")] == [2, 3]
    assert opened_journal(tmp_path)[1] == [b"z", b"oA", b"oB"]


@given(cut=st.integers(1, 20))
def test_torn_tail_is_set_aside_and_what_is_before_it_stays(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    directory = tmp_path_factory.mktemp("journal")
    journal, _ = opened_journal(directory)
    journal.append(b"oA")
    end = segments(directory)[0].path.stat().st_size
    journal.append(b"o" + b"B" * 30)
    os.truncate(segments(directory)[0].path, end + cut)
    again, held = opened_journal(directory)
    assert held == [b"z", b"oA"]
    assert again.damaged_bytes == cut
    again.append(b"oC")
    assert opened_journal(directory)[1] == [b"z", b"oA", b"oC"]


async def test_disk_that_hangs_does_not_hold_back_the_close(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on = threading.Event()
    monkeypatch.setattr("broker.orders.store.journal.CLOSE_S", 0.01)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", lambda _: goes_on.wait())
        journal, _ = opened_journal(tmp_path)
        journal.append(b"oA")
        async with asyncio.timeout(60):
            await journal.close()
        goes_on.set()
    assert opened_journal(tmp_path)[1] == [b"z", b"oA"]


async def test_segment_that_is_followed_stays_open_until_its_sync_is_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = threading.Event()
    synced: SimpleQueue[int] = SimpleQueue()

    def slow(descriptor: int) -> None:
        goes_on.wait()
        synced.put(os.fstat(descriptor).st_ino)

    journal, _ = opened_journal(tmp_path)
    position, first = journal.append(b"oA"), segments(tmp_path)[0].path.stat().st_ino
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", slow)
        waiting = asyncio.create_task(journal.wait_synced(position))
        await asyncio.sleep(0)
        journal.rotate([b"z"])
        await journal.close()
        goes_on.set()
        assert await asyncio.to_thread(synced.get, timeout=10) == first
    await waiting


async def test_one_sync_covers_all_that_came_before(tmp_path: Path) -> None:
    events: list[object] = []
    journal = OrderJournal(tmp_path, make_settings(tmp_path), events.append)
    journal.open()
    journal.rotate([b"z"])
    positions = [journal.append(b"o%d" % number) for number in range(50)]
    await asyncio.gather(*(journal.wait_synced(position) for position in positions))
    assert journal.synced == journal.written == 51
    assert len(events) == 1
    await journal.close()


async def test_failed_sync_refuses_until_a_new_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal, _ = opened_journal(tmp_path)

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        with pytest.raises(OrderJournalError, match="fdatasync"):
            await journal.wait_synced(journal.append(b"oA"))
    with pytest.raises(OrderJournalError):
        journal.append(b"oB")
    journal.rotate([b"z"])
    await journal.wait_synced(journal.append(b"oC"))
    await journal.close()
    assert opened_journal(tmp_path)[1] == [b"z", b"oC"]


def test_full_volume_leaves_no_half_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal, _ = opened_journal(tmp_path)
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda handle, data: write(handle, data[:5]))
        with pytest.raises(OrderJournalError, match="5 of"):
            journal.append(b"oA")
    journal.append(b"oB")
    assert opened_journal(tmp_path)[1] == [b"z", b"oB"]


def test_unfinished_segment_does_not_count(tmp_path: Path) -> None:
    journal, _ = opened_journal(tmp_path)
    journal.append(b"oA")
    (tmp_path / f"{journal.written:020d}.new").write_bytes(b"half")
    assert opened_journal(tmp_path)[1] == [b"z", b"oA"]


def test_another_version_is_not_guessed_at(tmp_path: Path) -> None:
    (tmp_path / f"{0:020d}.journal").write_bytes(b"OJRN\x09\x00\x00\x00")
    with pytest.raises(FormatError, match="version 9"):
        opened_journal(tmp_path)


def test_released_segments_go_and_others_stay_until_the_bound(tmp_path: Path) -> None:
    journal, _ = opened_journal(tmp_path, keep_bytes=10_000)
    journal.append(b"oA")
    journal.rotate([b"z"])
    assert len(segments(tmp_path)) == 2
    journal.release(2)
    journal.rotate([b"z"])
    assert [item.first for item in segments(tmp_path)] == [2, 3]
    assert journal.discarded == 0
    journal.append(b"o" * 12_000)
    journal.rotate([b"z"])
    assert [item.first for item in segments(tmp_path)] == [5]
    assert journal.discarded == 2


def test_entry_and_control_come_back_as_they_were() -> None:
    record = make_record(OrderStatus.UNKNOWN)
    control = AccountControl(state=TradingState.HALTED, applied=12)
    assert decode_payload(encode_order(record)) == (b"o", record)
    assert decode_payload(encode_control(control)) == (b"c", control)


def test_kind_from_the_future_is_passed_over() -> None:
    assert decode_payload(b"q{}") == (b"q", None)


def test_damaged_record_says_what_it_is_not_what_it_holds() -> None:
    with pytest.raises(ValueError, match=r"b'o' of \d+ bytes") as caught:
        decode_payload(b'o{"secret": "value"}')
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("error", ERRORS, ids=errno.errorcode.get)
async def test_fault_at_any_call_loses_no_record_that_was_taken(tmp_path: Path, error: int) -> None:
    with failing(error, lambda *_: False) as layer:
        await written_through(tmp_path / "whole")
    for number in range(1, layer.calls + 1):
        place = tmp_path / str(number)
        with failing_at(number, error):
            taken = await written_through(place)
        held = opened_journal(place)[1]
        # Those before a rotation are in its snapshot.
        assert [item for item in held if item.startswith(b"o")] == taken, (number, error)


async def written_through(directory: Path) -> list[bytes]:
    """Opens, writes, syncs and rotates; the records that the journal took. A step of the start is made twice."""
    journal, taken = OrderJournal(directory, make_settings(directory), lambda _: None), list[bytes]()

    def rotate() -> None:
        journal.rotate([*taken, b"z"])

    for step in (journal.open, rotate):
        try:
            step()
        except (OSError, OrderJournalError):
            step()
    for number in range(6):
        with suppress(OrderJournalError):
            if number == 3:
                rotate()
            position = journal.append(b"o%d" % number)
            taken.append(b"o%d" % number)
            await journal.wait_synced(position)
        if journal.failure is not None:
            rotate()
    await journal.close()
    return taken
