from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.checkpoint.retention import JOURNAL_FULL
from sidecar.export.log_queue import LogQueue
from sidecar.telemetry.model import JournalPosition
from tests.unit.sidecar.telemetry_core import TelemetryCore

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(1, 9)),
        st.tuples(st.just("take"), st.integers(1, 12)),
        st.tuples(st.just("settle"), st.integers(1, 3)),
        st.tuples(st.just("release"), st.just(0)),
    ),
    max_size=60,
)


def log_events_of(first: int, count: int) -> int:
    """Of the tests' events, every third makes no log record."""
    return sum(1 for sequence in range(first, first + count) if sequence % 3)


@settings(max_examples=300, deadline=None)
@given(STEPS, st.sampled_from([0, 3000, 6000, 1 << 20]))
def test_an_exporter_sees_each_record_once_and_in_order_however_far_behind_it_is(
    steps: list[tuple[str, int]], memory_bytes: int
) -> None:
    core = TelemetryCore()
    core.log_queue._memory_bytes = memory_bytes
    sent, after, seen = 0, JournalPosition(), []
    handed: list[tuple[JournalPosition, int]] = []
    for step, number in [*steps, ("take", 1 << 30)]:
        if step == "send":
            core.send("a", "s1", number, sent + 1)
            sent += number
        elif step == "take":
            for stored in core.log_queue.batches(after, number):
                after = stored.end
                seen.append(stored.batch.first_sequence)
                records = log_events_of(stored.batch.first_sequence, stored.batch.count)
                handed.append((stored.end, records))
        elif step == "settle" and handed:
            done, handed = handed[:number], handed[number:]
            core.log_queue.advance(done[-1][0], exported=sum(records for _, records in done), rejected={})
        elif step == "release":
            core.journal.release(core.log_queue.settled_before())
    while stored_batches := core.log_queue.batches(after, 1 << 30):
        after = stored_batches[-1].end
        seen += [stored.batch.first_sequence for stored in stored_batches]
    assert seen == sorted(set(seen))
    assert core.counts.ledger(core.log_queue.queued).balanced
    everything = [first for first, count in sends(steps) if log_events_of(first, count)]
    assert seen == everything


def sends(steps: list[tuple[str, int]]) -> list[tuple[int, int]]:
    found, first = [], 1
    for step, number in steps:
        if step == "send":
            found.append((first, number))
            first += number
    return found


def test_what_the_exporter_has_in_hand_is_not_dropped() -> None:
    core = TelemetryCore()
    core.send("a", "s1", 4, 1)
    core.send("a", "s1", 4, 5)
    (taken,) = core.log_queue.batches(JournalPosition(), 1)
    dropped = core.log_queue.drop(core.journal.end.segment, JOURNAL_FULL)
    assert dropped == {"order.transition": log_events_of(5, 4)}
    core.log_queue.advance(taken.end, exported=log_events_of(1, 4), rejected={})
    assert core.log_queue.queued == 0
    assert core.counts.ledger(0).balanced


def test_an_exporter_that_says_another_number_does_not_unbalance_the_ledger() -> None:
    core = TelemetryCore()
    core.send("a", "s1", 4, 1)
    (taken,) = core.log_queue.batches(JournalPosition(), 1)
    core.log_queue.advance(taken.end, exported=1, rejected={"too_old": 1})
    logs = core.counts.ledger(core.log_queue.queued).logs
    assert logs.balanced
    assert logs.dropped == {("export_mismatch", ""): log_events_of(1, 4) - 2}


async def test_waiting_ends_when_a_batch_comes() -> None:
    core = TelemetryCore()
    waiting = asyncio.ensure_future(core.log_queue.wait_batches(JournalPosition(), 10))
    await asyncio.sleep(0)
    assert not waiting.done()
    core.send("a", "s1", 4, 1)
    assert [stored.batch.first_sequence for stored in await waiting] == [1]


async def test_a_batch_without_log_records_wakes_nobody() -> None:
    core = TelemetryCore()
    waiting = asyncio.ensure_future(core.log_queue.wait_batches(JournalPosition(), 10))
    core.stream("a", "s1").state.durable_through = 2
    core.send("a", "s1", 1, 3)
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()


def test_a_backlog_that_holds_nothing_in_memory_reads_on_where_it_was() -> None:
    core = TelemetryCore()
    backlog: LogQueue = core.log_queue
    backlog._memory_bytes = 0
    for first in range(1, 40, 4):
        core.send("a", "s1", 4, first)
    after, seen = JournalPosition(), []
    while stored := backlog.batches(after, 1):
        after = stored[-1].end
        seen += [each.batch.first_sequence for each in stored]
    assert seen == list(range(1, 40, 4))
