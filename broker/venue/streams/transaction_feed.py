"""The account's transactions in order, none missing, none twice: the stream, and back-fill for its gaps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from broker.events.venue import StreamGap
from broker.venue.streams.stream_state import last_without_gap
from broker.venue.v20.parse import Page
from broker.venue.v20.transactions import Transaction, parse_transaction
from producer.emitter import Emit

HOLE_TRIES = 5
HOLE_WAIT_S = 0.2
Deliver = Callable[[Transaction], None]


class LogReader(Protocol):
    """Who can read the account's log."""

    async def transactions_since(self, after: int) -> Page:
        """The log behind `after`."""


class TransactionFeed:
    """Delivers each transaction once, by rising id, from `applied` on.

    The stream starts "from when the request is made" and replays nothing (v20, transaction stream), so every
    opening reads the log from `applied`, and so does a heartbeat whose `lastTransactionID` is ahead.
    """

    def __init__(self, *, log: LogReader, deliver: Deliver, emit: Emit, applied: int) -> None:
        self._log = log
        self._deliver = deliver
        self._emit = emit
        self._filling = asyncio.Lock()
        self.applied = applied
        """The last id delivered."""
        self.last_known = applied
        """The last id that the venue has spoken of."""

    @property
    def lag(self) -> int:
        """How many ids we are behind what the venue has spoken of."""
        return max(0, self.last_known - self.applied)

    def note(self, transaction_id: int | None) -> None:
        """The venue spoke of this id, in whatever answer."""
        if transaction_id is not None and transaction_id > self.last_known:
            self.last_known = transaction_id

    async def opened(self) -> None:
        """The stream is open: what happened before is read from the log."""
        await self.fill(missed=True)

    async def message(self, raw: dict[str, Any]) -> None:
        """A message of the stream. One whose predecessors it did not bring has them read from the log.

        What other answers spoke of is on its way in the stream, and no reason to read.
        """
        transaction = None if raw.get("type") == "HEARTBEAT" else parse_transaction(raw)
        last = int(raw["lastTransactionID"]) if transaction is None else transaction.id
        self.note(last)
        if self._filling.locked():
            async with self._filling:
                pass  # another's reading may bring what seems to be missing
        if transaction is not None and transaction.id == self.applied + 1:
            self._take(transaction)
        elif last > self.applied:
            await self.fill(missed=True)

    async def fill(self, *, missed: bool = False) -> None:
        """Reads the log from `applied` until it is whole, page by page.

        A page with a hole is asked again: the log may lag behind its own last id. A hole that stays is the
        venue's way of counting, and is passed over. What the stream has `missed` is counted.

        Raises:
            VenueError: the log cannot be read.
        """
        async with self._filling:
            tries = 0
            while tries < HOLE_TRIES:
                page = await self._log.transactions_since(self.applied)
                self.note(page.last_transaction_id)
                fresh = [item for item in page.transactions if item.id > self.applied]
                end = last_without_gap([item.id for item in fresh], self.applied)
                tries = 0 if end > self.applied else tries + 1
                self._take_all(fresh if tries == HOLE_TRIES else [item for item in fresh if item.id <= end], missed)
                if self.applied >= self.last_known:
                    return
                await asyncio.sleep(HOLE_WAIT_S * tries)

    def _take_all(self, fresh: list[Transaction], missed: bool) -> None:
        if fresh and missed:
            self._emit(StreamGap(transactions=len(fresh)))
        for transaction in fresh:
            self._take(transaction)

    def _take(self, transaction: Transaction) -> None:
        self._deliver(transaction)
        self.applied = transaction.id
