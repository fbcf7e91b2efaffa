"""Backfill of transactions that no journal has, from the venue's own log; then old rows are repaired from them.

They are missing after a volume was lost or the process was away. The history is looked through a page of ids at a time,
each within the database's deadline, and the table `progress` remembers how far: up to there every id is in the history
or the venue was asked for it, so that no later attempt and no later start begins anew.
"""

from __future__ import annotations

import asyncio
import logging
import random
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.history import tables
from broker.history.database import Database, DatabaseUnavailableError
from broker.history.repair import repair_fills
from broker.history.rows import HistoryRows, transaction_row
from broker.history.schema import ensure_schema
from broker.history.writer import write_progress, write_rows
from broker.venue.errors import VenueError
from broker.venue.v20.parse import TransactionPage
from pod_runtime.backoff import Backoff
from pod_runtime.cancellation import check_cancelled

_LOG = logging.getLogger(__name__)
PAGE_IDS = 10_000
"""Ids that one query looks at: some ten milliseconds, where a deadline is seconds."""


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

    def __init__(self, database: Database, log: TransactionLog, *, account: str, page_ids: int = PAGE_IDS) -> None:
        self._database = database
        self._log = log
        self._account = account
        self._page_ids = page_ids
        self._backoff = Backoff(base_s=1.0, cap_s=60.0)

    async def run(self, chance: Callable[[], float] = random.random) -> int:
        """Fill all gaps, trying again as long as it takes; the number of transactions written by the last attempt."""
        # Once a start is enough: from then on the journal brings each transaction.
        attempt, said = 0, ""
        while True:
            check_cancelled()
            try:
                return await self._fill_all()
            except (VenueError, DatabaseUnavailableError, ValueError, KeyError) as error:
                fault = str(error)
                # Not the first: a start has no token and no login yet. Not each: a database may be slow for hours.
                level = logging.WARNING if attempt and fault != said else logging.DEBUG
                _LOG.log(level, "history not filled yet", extra={"fault": fault})
                said = fault if attempt else ""
            await asyncio.sleep(self._backoff.delay_s(attempt, chance()))
            attempt += 1

    async def _fill_all(self) -> int:
        await ensure_schema(self._database)
        filled = 0
        async with self._database.transaction() as connection:
            after = await _seen(connection, self._account)
        while after is not None:
            async with self._database.transaction() as connection:
                last, gaps = await find_gaps(connection, self._account, after, limit=self._page_ids)
            if last is None:
                filled += await self._fill([TransactionGap(after, None)])
                break
            filled += await self._fill(gaps)
            async with self._database.transaction() as connection:
                await write_progress(connection, _source(self._account), last)
            after = last
        if filled:
            _LOG.info("history filled from the venue's log", extra={"transactions": filled})
        if repaired := await repair_fills(self._database, self._account):
            _LOG.info("rows of an older version repaired", extra={"fills": repaired})
        return filled

    async def _fill(self, gaps: Sequence[TransactionGap]) -> int:
        told, filled = 0, 0
        for gap in gaps:
            told = max(told, gap.after)  # one page of the venue may tell of several gaps
            while gap.before is None or told + 1 < gap.before:
                page = [item for item in (await self._log.transactions_since(told)).transactions if item.id > told]
                if not page:
                    return filled
                rows = [transaction_row(dict(item.raw), self._account) for item in page if _is_missing(item.id, gaps)]
                # A page at a time, each in its own transaction: after a fault the next attempt finds a smaller gap.
                async with self._database.transaction() as connection:
                    await write_rows(connection, HistoryRows(transactions={row["id"]: row for row in rows}))
                filled += len(rows)
                told = page[-1].id
        return filled


def _is_missing(number: int, gaps: Sequence[TransactionGap]) -> bool:
    found = bisect_left(gaps, number, key=lambda gap: gap.after) - 1  # the last gap that begins below it
    if found < 0:
        return False
    before = gaps[found].before
    return before is None or number < before


def _source(account: str) -> str:
    return f"gaps {account}"


async def _seen(connection: AsyncConnection, account: str) -> int | None:
    """The id up to which gaps need not be looked for: the remembered one or the first; None in an empty history."""
    progress, log = tables.progress.c, tables.transactions.c
    known = sa.select(progress.position).where(progress.source == _source(account))
    first = sa.select(sa.func.min(log.id)).where(log.account == account)
    found: int | None = (await connection.execute(known)).scalar()
    return found if found is not None else (await connection.execute(first)).scalar()


async def find_gaps(
    connection: AsyncConnection, account: str, after: int, *, limit: int = PAGE_IDS
) -> tuple[int | None, list[TransactionGap]]:
    """The last of the `limit` ids behind `after`, None if there is no id, and the gaps up to it, oldest first."""
    number = tables.transactions.c.id
    mine = sa.select(number).where(tables.transactions.c.account == account, number > after)
    page = mine.order_by(number).limit(limit).subquery()
    last = (await connection.execute(sa.select(sa.func.max(page.c.id)))).scalar()
    # The database compares neighbours: of a page without gaps no id is sent to us.
    before = sa.func.lag(page.c.id, 1, sa.literal(after, sa.BigInteger)).over(order_by=page.c.id)
    pairs = sa.select(before.label("before"), page.c.id).subquery()
    query = sa.select(pairs).where(pairs.c.id - pairs.c.before > 1).order_by(pairs.c.id)
    return last, [TransactionGap(*row) for row in await connection.execute(query)]
