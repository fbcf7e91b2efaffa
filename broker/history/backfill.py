"""Backfill of transactions that no journal has, from the venue's own log; then old rows are repaired from them.

They are missing after a volume was lost or the process was away.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.history import tables
from broker.history.database import Database, DatabaseUnavailableError
from broker.history.repair import repair_fills
from broker.history.rows import HistoryRows, transaction_row
from broker.history.schema import ensure_schema
from broker.history.writer import write_rows
from broker.venue.errors import VenueError
from broker.venue.v20.parse import TransactionPage
from pod_runtime.backoff import Backoff
from pod_runtime.cancellation import check_cancelled

_LOG = logging.getLogger(__name__)
# The venue may skip ids. Such a gap stays, and each start asks the venue for it again: so many at most.
MAX_GAPS = 1000


class TransactionLog(Protocol):
    """The venue's log of the account; see `broker.venue.rest`."""

    async def transactions_since(self, after: int) -> TransactionPage:
        """A page of transactions whose ids are above `after`."""


@dataclass(frozen=True, slots=True)
class TransactionGap:
    """Missing ids: those above `after` and below `before`; None is up to the end of the log."""

    after: int
    before: int | None


class Backfill:
    """Fills the gaps that a start finds. An empty history is not filled: it begins with the journal."""

    def __init__(self, database: Database, log: TransactionLog, *, account: str) -> None:
        self._database = database
        self._log = log
        self._account = account
        self._backoff = Backoff(base_s=1.0, cap_s=60.0)

    async def run(self, chance: Callable[[], float] = random.random) -> int:
        """Fill all gaps, trying again as long as it takes; the number of transactions written."""
        # Once a start is enough: from then on the journal brings each transaction.
        attempt = 0
        while True:
            check_cancelled()
            try:
                return await self._fill_all()
            except (VenueError, DatabaseUnavailableError, ValueError, KeyError) as error:
                level = logging.WARNING if attempt else logging.DEBUG  # a start has no token and no login yet
                _LOG.log(level, "history not filled yet", extra={"fault": str(error)})
            await asyncio.sleep(self._backoff.delay_s(attempt, chance()))
            attempt += 1

    async def _fill_all(self) -> int:
        await ensure_schema(self._database)
        async with self._database.transaction() as connection:
            gaps = await find_gaps(connection, self._account)
        filled = 0
        for gap in gaps:
            filled += await self._fill(gap)
        if filled:
            _LOG.info("history filled from the venue's log", extra={"transactions": filled})
        if repaired := await repair_fills(self._database, self._account):
            _LOG.info("rows of an older version repaired", extra={"fills": repaired})
        return filled

    async def _fill(self, gap: TransactionGap) -> int:
        after, filled = gap.after, 0
        while True:
            page = await self._log.transactions_since(after)
            found = [
                item for item in page.transactions if after < item.id and (gap.before is None or item.id < gap.before)
            ]
            if not found:
                return filled
            # A page at a time, each in its own transaction: after a fault the next attempt finds a smaller gap.
            rows = [transaction_row(dict(item.raw), self._account) for item in found]
            async with self._database.transaction() as connection:
                await write_rows(connection, HistoryRows(transactions={row["id"]: row for row in rows}))
            filled += len(found)
            after = found[-1].id


async def find_gaps(connection: AsyncConnection, account: str) -> list[TransactionGap]:
    """Gaps in an account's log, oldest first; the last one is the open end behind the newest id."""
    number = tables.transactions.c.id
    mine = tables.transactions.c.account == account
    # The database compares neighbours: a history may have millions of ids, and none of them is sent to us.
    pairs = sa.select(number.label("id"), sa.func.lag(number).over(order_by=number).label("before")).where(mine)
    inner = pairs.subquery()
    query = sa.select(inner.c.before, inner.c.id).where(inner.c.id - inner.c.before > 1).order_by(inner.c.id.desc())
    found = (await connection.execute(query.limit(MAX_GAPS))).all()
    gaps = [TransactionGap(after, before) for after, before in reversed(found)]
    last = (await connection.execute(sa.select(sa.func.max(number)).where(mine))).scalar()
    return gaps if last is None else [*gaps, TransactionGap(last, None)]
