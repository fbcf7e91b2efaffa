from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from msgspec.structs import replace

from broker.domain import Fill, Order, OrderType, Side
from broker.history import tables
from broker.history.archive import FILLS, ORDERS, HistoryFilter
from broker.history.repair import BATCH, repair_fills
from broker.history.rows import rows_of
from broker.history.schema import ensure_schema
from broker.history.writer import write_rows
from broker.orders.store.tail import Change
from tests.unit.broker.history.conftest import HistoryParts
from tests.unit.broker.history.fake_journal import ACCOUNT, START, make_order

COSTS = {"commission": "0.06", "financing": "-0.0012", "guaranteedExecutionFee": "0.0000"}


def exit_as_it_was_written(number: int) -> Order:
    """A take-profit in a row of version 0.1: a buy of nothing."""
    made = make_order(number, type=OrderType.TAKE_PROFIT, instrument="", side=Side.BUY, units=Decimal(0), trade_id="4")
    fill = Fill(transaction_id=str(number), units=Decimal(600), price=Decimal("1.10500"), time=START)
    return replace(made, fills=(fill,))


def told_of(number: int, **changed: Any) -> dict[str, Any]:
    part = {"tradeID": "4", "units": "-600", "realizedPL": "3.0000"}
    told = {"instrument": "EUR_USD", "units": "-600", "price": "1.10500", "tradesClosed": [part], **COSTS}
    time = "2026-01-05T10:00:00.123456789Z"
    return {"id": str(number), "type": "ORDER_FILL", "time": time, "orderID": "7", **told, **changed}


async def wrote(history: HistoryParts, *items: Order | dict[str, Any]) -> None:
    await ensure_schema(history.database)
    changes = [
        Change(position=number, order=item) if isinstance(item, Order) else Change(position=number, transaction=item)
        for number, item in enumerate(items)
    ]
    async with history.database.transaction() as connection:
        await write_rows(connection, rows_of(changes, ACCOUNT))


async def test_exit_of_an_old_version_becomes_what_the_log_tells(history: HistoryParts) -> None:
    await wrote(history, exit_as_it_was_written(8), told_of(8))
    assert await repair_fills(history.database, ACCOUNT) == 1

    (fill,) = (await history.archive.page(FILLS, HistoryFilter(equal={"instrument": "EUR_USD"}), limit=9)).rows
    (order,) = (await history.archive.page(ORDERS, HistoryFilter(equal={"instrument": "EUR_USD"}), limit=9)).rows
    assert (fill["side"], fill["units"], fill["commission"]) == ("sell", Decimal(600), Decimal("0.06"))
    assert fill["time_ns"] == 1767607200123456789
    assert (order["side"], order["units"], order["status"]) == ("sell", Decimal(600), "filled")


async def test_fill_that_the_log_does_not_have_stays_as_it_is(history: HistoryParts) -> None:
    await wrote(history, make_order(1), exit_as_it_was_written(8), told_of(8, price=None))
    assert await repair_fills(history.database, ACCOUNT) == 0


async def test_row_that_cannot_be_read_does_not_keep_those_behind_it(history: HistoryParts) -> None:
    nameless = told_of(2, tradesClosed=[{"units": "-600"}])
    await wrote(history, *map(exit_as_it_was_written, (1, 2, 3)), told_of(1), nameless, told_of(3))
    unreadable = sa.update(tables.orders).where(tables.orders.c.id == exit_as_it_was_written(1).id)
    async with history.database.transaction() as connection:
        await connection.execute(unreadable.values(document="{}"))
    assert await repair_fills(history.database, ACCOUNT) == 1


async def test_repaired_fill_stays_when_its_order_is_told_again_from_an_old_journal(history: HistoryParts) -> None:
    old = exit_as_it_was_written(8)
    await wrote(history, old, told_of(8))
    await repair_fills(history.database, ACCOUNT)
    await wrote(history, replace(old, updated_at=old.updated_at + timedelta(days=1)))

    (fill,) = (await history.archive.page(FILLS, HistoryFilter(), limit=9)).rows
    assert (fill["instrument"], fill["side"], fill["commission"]) == ("EUR_USD", "sell", Decimal("0.06"))


async def test_repair_is_done_once(history: HistoryParts) -> None:
    await wrote(history, exit_as_it_was_written(8), told_of(8))
    await repair_fills(history.database, ACCOUNT)
    await wrote(history, exit_as_it_was_written(9), told_of(9))
    assert await repair_fills(history.database, ACCOUNT) == 0


async def test_every_row_of_many_is_repaired(history: HistoryParts) -> None:
    numbers = range(1, BATCH + 11)
    await wrote(history, *map(exit_as_it_was_written, numbers), *map(told_of, numbers))
    assert await repair_fills(history.database, ACCOUNT) == BATCH + 10


async def test_repaired_order_stays_when_it_is_told_again_from_an_old_journal(history: HistoryParts) -> None:
    old = exit_as_it_was_written(8)
    await wrote(history, old, told_of(8))
    await repair_fills(history.database, ACCOUNT)
    await wrote(history, replace(old, updated_at=old.updated_at + timedelta(days=1)))

    (order,) = (await history.archive.page(ORDERS, HistoryFilter(), limit=9)).rows
    assert (order["instrument"], order["side"], order["units"]) == ("EUR_USD", "sell", Decimal(600))
