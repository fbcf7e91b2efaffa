"""Readers of the order journal, every change in order: `changes` for the history, `replay` for event streams."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from broker.domain import Order
from broker.orders.model.lifecycle import OrderRecord
from broker.orders.model.trading_state import AccountControl
from broker.orders.store.journal import (
    CONTROL,
    ORDER,
    SNAPSHOT_END,
    TRANSACTION,
    JournalMark,
    OrderJournal,
    OrderSegment,
    decode_payload,
    segments,
)
from pod_runtime.files.framing import HEADER_BYTES, Record, records

GATHER_S = 0.2
"""Pause in which records gather: each look at the files, and each transaction of the history that follows, costs as
much as an order's own records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An order at a new status, a transaction of the venue's log, or the control state; one of them is set."""

    position: int
    """Position behind the change: pass it to `changes` to continue from here. 0 if the journal failed to take it."""
    order: Order | None = None
    transaction: Mapping[str, Any] | None = None
    control: AccountControl | None = None
    """Trading state, perhaps the same as before."""
    crc: int = 0
    """Of the record; `changes` leaves it out."""

    @property
    def mark(self) -> JournalMark:
        """Place of the change, to continue from."""
        return JournalMark(self.position, self.crc)


REPLAY_BYTES = 1 << 16
"""Bytes that a replay reads in one turn of the event loop: below half a millisecond."""
log = logging.getLogger(__name__)


class JournalGapError(Exception):
    """The journal does not have everything behind a mark; the text is a word for the reason."""


async def changes(journal: OrderJournal, after: int) -> AsyncIterator[Change]:
    """Changes behind position `after`, until the journal is closed; waits for new ones.

    If their segments are gone it begins at the oldest change that is left: the venue's log has the missing ones.
    """
    after = after if after <= journal.written else 0  # beyond our end: a position of another volume's journal
    segment, offset, position = _place(journal, after)
    while True:
        # Without a look at the files: they have as many records as the journal's owner, which we are, has counted.
        while position >= journal.written and not journal.is_closed:
            journal.grown.clear()
            await journal.grown.wait()
            await asyncio.sleep(GATHER_S)
        try:
            found, offset = read_from(segment, offset)
        except FileNotFoundError:  # the journal discarded it before we had read it
            segment, offset, position = _place(journal, position)
            continue
        for record in found:
            position += 1
            if position > after and (change := _change(position, record.payload)) is not None:
                yield change
        if found:
            continue
        following = next((item for item in segments(journal.directory) if item.first > segment.first), None)
        if following is not None:
            segment, offset, position = following, HEADER_BYTES, following.first
        elif journal.is_closed:
            return
        else:  # a record that the disk has lost: what comes behind it may be readable in the next segment
            journal.grown.clear()
            await journal.grown.wait()


async def replay(journal: OrderJournal, after: JournalMark) -> AsyncGenerator[Change, None]:
    """Changes behind `after`, up to the journal's end as it is when the reader gets there.

    Raises JournalGapError: `discarded` if older segments are gone, `unknown` if `after` is not a mark of this journal,
        `unreadable` if the volume fails.
    """
    if after == journal.mark:
        return
    if not 0 < after.position <= journal.written:
        raise JournalGapError("unknown")
    # The record at the mark is the one before its position.
    segment = next((item for item in reversed(segments(journal.directory)) if item.first < after.position), None)
    if segment is None:
        raise JournalGapError("discarded")
    offset, position = HEADER_BYTES, segment.first
    # A segment begins with a snapshot, whose transactions were told before: they wait for the order that is theirs.
    in_snapshot = True
    while position < journal.written:
        following = _following(journal, segment)
        found, offset = await _read_part(journal, segment, offset)
        # Behind its successor's begin a segment has at most what a paused owner wrote too late.
        end = following.first if following is not None else journal.written
        for record in found[: end - position]:
            position += 1
            if position == after.position and crc32(record.payload) != after.crc:
                raise JournalGapError("unknown")
            is_told = position > after.position and not in_snapshot
            in_snapshot = in_snapshot and record.payload[:1] != SNAPSHOT_END
            if is_told and (change := _streamed(position, record.payload)) is not None:
                yield change
        if position == end and following is not None:
            segment, offset, in_snapshot = following, HEADER_BYTES, True
        elif not found:
            raise JournalGapError("unknown")  # damage: records of the positions before `end` cannot be read


def _following(journal: OrderJournal, segment: OrderSegment) -> OrderSegment | None:
    return next((item for item in segments(journal.directory) if item.first > segment.first), None)


async def _read_part(journal: OrderJournal, segment: OrderSegment, offset: int) -> tuple[list[Record], int]:
    # One reader at a time, and a turn of the loop for each part: orders do not wait behind a long replay.
    async with journal.reading:
        await asyncio.sleep(0)
        try:
            return read_from(segment, offset, REPLAY_BYTES)
        except FileNotFoundError:
            raise JournalGapError("discarded") from None
        except OSError as error:
            raise JournalGapError("unreadable") from error


def _streamed(position: int, payload: bytes) -> Change | None:
    try:
        kind, content = decode_payload(payload) if payload[:1] in {ORDER, TRANSACTION, CONTROL} else (b"", None)
    except ValueError as error:
        # The history stops at it and shows a condition; a stream must not end at the same place again and again.
        log.warning("journal record unreadable", extra={"fault": str(error)})
        return None
    crc = crc32(payload)
    match content:
        case OrderRecord():
            return Change(position=position, crc=crc, order=content.order)
        case AccountControl():
            return Change(position=position, crc=crc, control=content)
        case dict() if kind == TRANSACTION:
            return Change(position=position, crc=crc, transaction=content)
    return None


def _place(journal: OrderJournal, after: int) -> tuple[OrderSegment, int, int]:
    found = segments(journal.directory)
    # The last segment that begins at or before the position contains it.
    start = next((item for item in reversed(found) if item.first <= after), found[0])
    return start, HEADER_BYTES, start.first


def _change(position: int, payload: bytes) -> Change | None:
    kind, content = decode_payload(payload) if payload[:1] in {ORDER, TRANSACTION} else (b"", None)
    if kind == ORDER and isinstance(content, OrderRecord):
        return Change(position=position, order=content.order)
    if kind == TRANSACTION and isinstance(content, dict):
        return Change(position=position, transaction=content)
    return None


def read_from(segment: OrderSegment, offset: int, limit_bytes: int = 1 << 20) -> tuple[list[Record], int]:
    """Whole records of a segment from byte `offset`, about `limit_bytes` of them, and the offset behind them."""
    with segment.path.open("rb") as file:
        size = limit_bytes
        while True:
            file.seek(offset)
            data = file.read(size)
            found = list(records(data, 0))
            # No whole record in a full read: the record is larger than the read.
            if found or len(data) < size:
                return found, offset + (found[-1].end if found else 0)
            size *= 2
