"""Reader that follows the order journal: every change in order, for the history."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from broker.domain import Order
from broker.orders.model.lifecycle import OrderRecord
from broker.orders.store.journal import ORDER, TRANSACTION, OrderJournal, OrderSegment, decode_payload, segments
from pod_runtime.framing import HEADER_BYTES, Record, records

GATHER_S = 0.02
"""Pause in which records gather: each look at the files costs as much as an order's own records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An order at a new status, or a transaction of the venue's log; one of the two is set."""

    position: int
    """Position behind the change: pass it to `changes` to continue from here."""
    order: Order | None = None
    transaction: dict[str, Any] | None = None


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
