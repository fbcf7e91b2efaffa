from __future__ import annotations

import errno
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from broker.orders.dependencies import NOBODY
from broker.orders.ownership import cluster_lease
from broker.orders.ownership.lease import MARGIN_SHARE, POLL_EVERY_S, FileLease, FileLeaseRecord, wait_s
from broker.orders.settings import OrderSettings
from tests.failing_files import ERRORS, failing, failing_at
from tests.unit.broker.orders.boot_clock import BootClock

RECORD = FileLeaseRecord(owner="a", epoch=3, pid=1, boot_id="boot", renewed_s=100.0, lease_s=10.0)


def lease(directory: Path, owner: str = "broker") -> FileLease:
    return FileLease(directory, owner=owner, lease_s=10.0)


def test_living_owner_is_waited_out_with_a_margin() -> None:
    assert wait_s(RECORD, now_s=105.0, boot_id="boot", holder_died=False) == 7.0
    assert wait_s(RECORD, now_s=112.0, boot_id="boot", holder_died=False) == 0.0


def test_dead_owner_earlier_boot_and_nobody_are_followed_at_once() -> None:
    assert wait_s(RECORD, now_s=101.0, boot_id="boot", holder_died=True) == 0.0
    assert wait_s(replace(RECORD, boot_id="other"), now_s=101.0, boot_id="boot", holder_died=False) == 0.0
    assert wait_s(None, now_s=101.0, boot_id="boot", holder_died=False) == 0.0


async def test_one_of_two_owns(tmp_path: Path, clock: BootClock) -> None:
    first, second = lease(tmp_path), lease(tmp_path)
    assert await first.acquire() == 0.0
    assert await second.acquire() == 12.0
    assert (first.holds(), second.holds()) == (True, False)


async def test_released_account_is_free_at_once(tmp_path: Path, clock: BootClock) -> None:
    first, second = lease(tmp_path), lease(tmp_path)
    await first.acquire()
    await first.release()
    assert await second.acquire() == 0.0
    assert second.epoch == 2


async def test_paused_owner_wakes_up_fenced(tmp_path: Path, clock: BootClock) -> None:
    paused, successor = lease(tmp_path), lease(tmp_path)
    await paused.acquire()
    clock.now_s += 12.0
    assert await successor.acquire() == 0.0
    assert not paused.holds()
    assert not await paused.renew()
    assert successor.holds()


async def test_owner_stops_before_its_deadline(tmp_path: Path, clock: BootClock) -> None:
    owner = lease(tmp_path)
    await owner.acquire()
    clock.now_s += 7.9
    assert owner.holds()
    clock.now_s += 0.2
    assert not owner.holds()


async def test_later_epoch_fences_even_before_the_deadline(tmp_path: Path, clock: BootClock) -> None:
    owner = lease(tmp_path)
    await owner.acquire()
    (tmp_path / "lease.2").write_text("{}")
    assert not owner.holds()


async def test_renewal_prolongs(tmp_path: Path, clock: BootClock) -> None:
    owner, other = lease(tmp_path), lease(tmp_path)
    await owner.acquire()
    clock.now_s += 7.0
    assert await owner.renew()
    clock.now_s += 7.0
    assert owner.holds()
    assert await other.acquire() == 5.0


async def test_holder_is_named(tmp_path: Path, clock: BootClock) -> None:
    await lease(tmp_path, "blue").acquire()
    assert lease(tmp_path).holder().startswith("blue (process ")


async def test_owner_whose_lease_ran_out_is_not_named_to_itself(tmp_path: Path, clock: BootClock) -> None:
    owner = lease(tmp_path)
    await owner.acquire()
    clock.now_s += 9
    assert not await owner.renew()
    assert owner.holder() == NOBODY
    assert lease(tmp_path).holder() != NOBODY


def test_default_lease_leaves_an_account_without_an_owner_for_15_s_at_most() -> None:
    waits_s = OrderSettings().lease_s * (1 + MARGIN_SHARE)
    assert waits_s + max(POLL_EVERY_S, cluster_lease.POLL_EVERY_S) + cluster_lease.RETRY_S <= 15


async def test_note_is_handed_on(tmp_path: Path, clock: BootClock) -> None:
    first, second, third = (lease(tmp_path) for _ in range(3))
    await first.acquire()
    first.hand_over("halted")
    await first.renew()
    await first.release()
    await second.acquire()
    assert second.note() == "halted"
    await second.release()
    await third.acquire()
    assert third.note() == "halted"


@pytest.mark.parametrize("error", ERRORS, ids=errno.errorcode.get)
async def test_owner_keeps_the_account_while_no_file_can_be_made(tmp_path: Path, clock: BootClock, error: int) -> None:
    owner, other = lease(tmp_path), lease(tmp_path)
    await owner.acquire()
    with failing(error, lambda _, name: name != "pwrite"):
        for _ in range(10):
            clock.now_s += 7.0
            assert await owner.renew()
    assert await other.acquire() == 12.0


async def test_owner_whose_file_cannot_be_read_is_not_followed(tmp_path: Path, clock: BootClock) -> None:
    owner, other = lease(tmp_path), lease(tmp_path)
    await owner.acquire()
    with failing(errno.EIO, lambda _, name: name == "open"), pytest.raises(OSError, match="Input/output"):
        await other.acquire()
    assert owner.holds()


@pytest.mark.parametrize("error", ERRORS, ids=errno.errorcode.get)
async def test_account_is_acquired_after_a_fault_at_any_call(tmp_path: Path, clock: BootClock, error: int) -> None:
    with failing(error, lambda *_: False) as layer:
        await lease(tmp_path / "whole").acquire()
    assert layer.calls > 10
    for number in range(1, layer.calls + 1):
        taker = lease(tmp_path / str(number))
        with failing_at(number, error), suppress(OSError):
            await taker.acquire()
        assert await taker.acquire() == 0.0, number
        assert taker.holds()
        await taker.release()


async def test_address_of_an_owner_is_empty_while_it_cannot_be_read(tmp_path: Path, clock: BootClock) -> None:
    await lease(tmp_path).acquire()
    with failing(errno.EMFILE):
        assert (lease(tmp_path).address(), lease(tmp_path).holder()) == ("", "nobody")


async def test_note_that_became_shorter_leaves_a_whole_record(tmp_path: Path, clock: BootClock) -> None:
    owner, other = lease(tmp_path), lease(tmp_path)
    await owner.acquire()
    for note in ("x" * 5000, "short"):
        owner.hand_over(note)
        assert await owner.renew()
    await owner.release()
    await other.acquire()
    assert other.note() == "short"
