"""The account's transactions in order, none missing and none twice: the stream, with back-fill from the log.

Source. Every effect on an account (an order accepted, filled, cancelled; a transfer; a day's financing) is one
transaction of the account's log at the venue; ids rise, normally by one. Two requests read the log: the stream pushes
transactions as they happen, and `transactions/sinceid` returns everything behind an id. The stream "starts from when
the request is made" and replays nothing (v20, transaction stream), and it may end at any line. So the stream alone
has gaps, and `sinceid` alone is late.

Position. `applied` is the id of the last transaction that was delivered. The consumer journals each transaction, and
that record is the position: whoever owns the account next starts behind the last one in the journal. `last_known` is
the highest id that the venue has spoken of in any answer. Their difference is the `lag`.

Rules:

- A streamed transaction with the id `applied + 1` is delivered at once: the usual case, without a request.
- One at or below `applied` was delivered already, by an earlier back-fill. It is dropped.
- One further ahead, or a heartbeat whose `lastTransactionID` is ahead, proves a gap: the log is read from `applied`.
  Heartbeats come every 5 s, so a gap at a quiet hour is found that fast.
- An id that another answer mentioned is only noted. Its transaction is on its way in the stream, and reading the log
  after each order would double the requests.
- A transaction that the answer to an order has told is kept until the stream brings its id, and is then delivered as
  the answer had it: an order costs one parse, not two. The stream alone moves `applied`.

Reconnect. `opened` runs before any message of the new connection is handled, and reads the log from `applied`.
Messages that arrive meanwhile wait in the connection's buffer; afterwards they are at or below `applied`, or exactly
next. So it does not matter how long the stream was away, or what it had brought before it broke.

Concurrency. One event loop; the lock `_filling` lets one reading of the log run at a time. A message that comes while
somebody else (the catch-up of a new owner, a reconciliation) is reading waits for it: that reading may bring the very
transaction that seems to be missing. `deliver` is synchronous, so no other message comes between a delivery and the
move of `applied`; if it raises, `applied` stays, and the next reading of the log brings the transaction again.

Holes. The log's readers may lag behind its own last id, so that a page ends early or lacks an id in the middle. Only
the part before the hole is delivered, and the page is read again: five times in all, with rising pauses that make 2 s
together. After that the hole is taken for the venue's way of counting and passed over: an account must not stop for
ever for an id that never existed.

Counting. Transactions that the stream should have brought and the log brought instead are counted (`StreamGap`);
those of a deliberate catch-up are not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import msgspec
from msgspec import Struct

from broker.events.venue import StreamGap
from broker.venue.streams.stream_state import last_without_gap, message
from broker.venue.v20.parse import TransactionPage
from broker.venue.v20.transactions import Transaction, parse_transaction, transaction_id
from pod_runtime.cancellation import check_cancelled
from producer.emitter import Emit

HOLE_TRIES = 5
HOLE_WAIT_S = 0.2
MAX_TOLD = 1000
"""Transactions of answers that are kept for the stream; beyond it they are let go, and parsed again."""
Deliver = Callable[[Transaction], None]


class TransactionLine(Struct):
    """A line of the transaction stream with what tells if it is news; the rest of `text` is read if it is."""

    id: str = ""
    type: str = ""
    last_id: str = msgspec.field(default="", name="lastTransactionID")
    text: bytes = b""


_DECODER = msgspec.json.Decoder(TransactionLine)


def transaction_line(text: bytes) -> TransactionLine:
    """Read the head of a line: most lines repeat what the answer to an order has told.

    Raises StreamDataError: it is no JSON object.
    """
    try:
        line = _DECODER.decode(text)
    except ValueError:  # ids as numbers, or JSON that only `message` reads
        raw = message(text)
        number, kind, last = (str(raw.get(key, "")) for key in ("id", "type", "lastTransactionID"))
        line = TransactionLine(id=number, type=kind, last_id=last)
    line.text = text
    return line


class TransactionSource(Protocol):
    """Reader of the account's log."""

    async def transactions_since(self, after: int) -> TransactionPage:
        """Return the log behind `after`, as far as the venue shows it."""


class TransactionFeed:
    """Delivers each transaction once, by rising id, from `applied` on; the reader of a `LineStream`."""

    def __init__(self, *, log: TransactionSource, deliver: Deliver, emit: Emit, applied: int) -> None:
        self._log = log
        self._deliver = deliver
        self._emit = emit
        self._filling = asyncio.Lock()
        self.applied = applied
        """Id of the last transaction delivered."""
        self.last_known = applied
        """Highest id that the venue has spoken of."""
        self._told: dict[int, Transaction] = {}

    @property
    def lag(self) -> int:
        """Number of ids between the last delivered and the last that the venue has spoken of."""
        return max(0, self.last_known - self.applied)

    def note(self, transaction_id: int | None) -> None:
        """Take note of an id that the venue spoke of, in whatever answer."""
        if transaction_id is not None and transaction_id > self.last_known:
            self.last_known = transaction_id

    def tell(self, transactions: Iterable[Transaction]) -> None:
        """Keep what an answer has told, for the moment when the stream brings it again."""
        if len(self._told) >= MAX_TOLD:
            self._told.clear()
        self._told.update((item.id, item) for item in transactions if item.id > self.applied)

    def parameters(self) -> Mapping[str, str]:
        """Query of the stream: none, it is the whole account's."""
        return {}

    async def opened(self) -> None:
        """Read from the log what happened while the stream was away."""
        await self.fill(missed=True)

    async def take(self, lines: Sequence[bytes]) -> None:
        """Take lines of the stream."""
        for line in lines:
            await self.message(transaction_line(line))

    async def message(self, line: TransactionLine) -> None:
        """Take a message of the stream; one whose predecessors did not come has them read from the log."""
        is_heartbeat = line.type == "HEARTBEAT"
        number = transaction_id(line.last_id if is_heartbeat else line.id)
        self.note(number)
        if self._filling.locked():
            async with self._filling:
                pass  # another's reading may bring the transaction that seems to be missing
        if number == self.applied + 1 and not is_heartbeat:
            self._take(self._told.get(number) or parse_transaction(message(line.text)))
        elif number > self.applied:
            await self.fill(missed=True)

    async def fill(self, *, missed: bool = False) -> None:
        """Read the log from `applied` until it is whole, page by page; with `missed` the transactions are counted.

        Raises VenueError: the log cannot be read.
        """
        async with self._filling:
            tries = 0
            while tries < HOLE_TRIES:
                check_cancelled()
                page = await self._log.transactions_since(self.applied)
                self.note(page.last_transaction_id)
                fresh = [item for item in page.transactions if item.id > self.applied]
                end = last_without_gap([item.id for item in fresh], self.applied)
                tries = 0 if end > self.applied else tries + 1
                # The last try passes the hole over.
                whole = fresh if tries == HOLE_TRIES else [item for item in fresh if item.id <= end]
                if whole and missed:
                    self._emit(StreamGap(transactions=len(whole)))
                for transaction in whole:
                    self._take(transaction)
                if self.applied >= self.last_known:
                    return
                await asyncio.sleep(HOLE_WAIT_S * tries)

    def _take(self, transaction: Transaction) -> None:
        self._deliver(transaction)
        self.applied = transaction.id
        self._told.pop(transaction.id, None)
