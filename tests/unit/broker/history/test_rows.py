from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from msgspec.structs import replace

from broker.domain import Fill, OrderType, Side, TradeEffect, TradePart
from broker.history.rows import fill_rows, transaction_row
from tests.unit.broker.history.fake_journal import ACCOUNT, START, make_order

EXIT = Fill(
    transaction_id="9",
    units=Decimal(600),
    price=Decimal("1.10500"),
    time=START,
    time_ns=1767607200123456789,
    instrument="EUR_USD",
    side=Side.SELL,
    profit=Decimal("3.0"),
    commission=Decimal("0.06"),
    financing=Decimal("-0.0012"),
    guaranteed_fee=Decimal("0.03"),
    trades=(TradePart(trade_id="4", effect=TradeEffect.CLOSED, units=Decimal(600), profit=Decimal("3.0")),),
)


def test_row_of_an_exit_is_as_its_fill_and_not_as_its_request() -> None:
    order = make_order(1, type=OrderType.TAKE_PROFIT, instrument="", side=Side.BUY, units=Decimal(0))
    (row,) = fill_rows(replace(order, fills=(EXIT,)))
    assert (row["instrument"], row["side"], row["units"]) == ("EUR_USD", "sell", Decimal(600))


def test_row_has_the_costs_the_nanoseconds_and_the_trades_of_the_fill() -> None:
    (row,) = fill_rows(replace(make_order(1), fills=(EXIT,)))
    assert (row["commission"], row["financing"], row["guaranteed_fee"]) == (
        Decimal("0.06"),
        Decimal("-0.0012"),
        Decimal("0.03"),
    )
    assert row["time_ns"] == 1767607200123456789
    assert json.loads(row["trades"]) == [{"trade_id": "4", "effect": "closed", "units": "600", "profit": "3.0"}]


def test_fill_of_an_old_journal_is_of_the_request_and_has_no_known_costs() -> None:
    (row,) = fill_rows(make_order(1))
    assert (row["instrument"], row["side"]) == ("EUR_USD", "buy")
    assert (row["commission"], row["time_ns"], row["trades"]) == (None, None, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-05T10:00:00.123456789Z", datetime(2026, 1, 5, 10, 0, 0, 123456, tzinfo=UTC)),
        ("1767607200.123456789", datetime(2026, 1, 5, 10, 0, 0, 123456, tzinfo=UTC)),
        ("soon", None),
    ],
)
def test_transaction_has_its_time_in_either_of_the_venues_forms(text: str, expected: datetime | None) -> None:
    assert transaction_row({"id": "7", "type": "X", "time": text}, ACCOUNT)["time"] == expected


def test_transaction_without_a_time_is_kept() -> None:
    assert transaction_row({"id": "7", "type": "X"}, ACCOUNT)["time"] is None
