"""Reading the order journal from behind: every change in order, for what is written after it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from broker.domain import Order
from broker.orders.model.order_record import Entry
from broker.orders.store.journal import Journal, Segment, read_from, segments
from broker.orders.store.journal_format import ENTRY, TRANSACTION, parse_record
from pod_runtime.framing import HEADER_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An order at a new status, or a transaction of the venue's log; one of the two is set."""

    position: int
    """Behind the change: pass it to `changes` to go on from here."""
    order: Order | None = None
    transaction: dict[str, Any] | None = None


async def changes(journal: Journal, after: int) -> AsyncIterator[Change]:
    """Changes from position `after` on, until the journal is closed; waits for new ones.

    Begins at the oldest that is kept where `after` is older: the missing ones are in the venue's log. Where
    `after` is from another journal (beyond our end) it begins at the oldest, too.
    """
    after = after if after <= journal.written else 0
    segment, offset, position = _place(journal, after)
    while True:
        journal.grown.clear()
        try:
            found, offset = read_from(segment, offset)
        except FileNotFoundError:  # discarded before we had read it
            segment, offset, position = _place(journal, position)
            continue
        for record in found:
            position += 1
            if position > after and (change := _change(position, record.payload)) is not None:
                yield change
        if found:
            continue
        if (following := _following(journal, segment)) is not None:
            segment, offset, position = following, HEADER_BYTES, following.first
        elif journal.is_closed:
            return
        else:
            await journal.grown.wait()


def _place(journal: Journal, after: int) -> tuple[Segment, int, int]:
    found = segments(journal.directory)
    start = next((item for item in reversed(found) if item.first <= after), found[0])
    return start, HEADER_BYTES, start.first


def _following(journal: Journal, segment: Segment) -> Segment | None:
    return next((item for item in segments(journal.directory) if item.first > segment.first), None)


def _change(position: int, payload: bytes) -> Change | None:
    kind, content = parse_record(payload) if payload[:1] in {ENTRY, TRANSACTION} else (b"", None)
    if kind == ENTRY and isinstance(content, Entry):
        return Change(position=position, order=content.order)
    if kind == TRANSACTION and isinstance(content, dict):
        return Change(position=position, transaction=content)
    return None
