from __future__ import annotations

import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from broker.domain import OrderType, Protection, Side, TimeInForce, TriggerCondition
from broker.venue.v20 import parse as wire
from broker.venue.v20.transactions import parse_time, parse_time_ns, parse_transaction

NOW = datetime(2026, 1, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-05T12:00:00.123456789Z", datetime(2026, 1, 5, 12, 0, 0, 123456, tzinfo=UTC)),
        ("2026-01-05T12:00:00Z", datetime(2026, 1, 5, 12, tzinfo=UTC)),
        ("2026-01-05T13:00:00.5+01:00", datetime(2026, 1, 5, 12, 0, 0, 500000, tzinfo=UTC)),
        ("1767614400.000000001", datetime(2026, 1, 5, 12, tzinfo=UTC)),
        ("1767614400", datetime(2026, 1, 5, 12, tzinfo=UTC)),
    ],
)
def test_both_time_formats_are_read(text: str, expected: datetime) -> None:
    assert parse_time(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-05T12:00:00.123456789Z", 1767614400_123456789),
        ("2026-01-05T12:00:00Z", 1767614400_000000000),
        ("2026-01-05T13:00:00.570329138+01:00", 1767614400_570329138),
        ("1767614400.000000001", 1767614400_000000001),
        ("1767614400", 1767614400_000000000),
        ("", 0),
    ],
)
def test_nine_digits_of_both_time_formats_are_read(text: str, expected: int) -> None:
    assert parse_time_ns(text) == expected


def test_time_without_a_zone_is_utc_wherever_we_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        found = parse_time("2026-01-05T12:00:00.5")
    time.tzset()
    assert found == datetime(2026, 1, 5, 12, 0, 0, 500000, tzinfo=UTC)


def test_fill_keeps_exact_decimals_and_ignores_the_unknown() -> None:
    fill = parse_transaction(
        {
            "id": "8",
            "type": "ORDER_FILL",
            "time": "2026-01-05T12:00:00Z",
            "orderID": "7",
            "units": "-100.10",
            "price": "1.10010",
            "pl": "-0.3003",
            "halfSpreadCost": "0.0100",
            "tradeOpened": {"tradeID": "8", "units": "-50"},
            "tradesClosed": [{"tradeID": "3", "units": "-20", "realizedPL": "-0.1"}, {"tradeID": "4"}],
            "tradeReduced": {"tradeID": "5"},
            "sevenNewFields": [{}],
        }
    )
    assert (str(fill.units), str(fill.price), str(fill.profit)) == ("-100.10", "1.10010", "-0.3003")
    assert [(part.trade_id, part.effect) for part in fill.trades] == [
        ("8", "opened"), ("3", "closed"), ("4", "closed"), ("5", "reduced"),
    ]  # fmt: skip
    assert (fill.trades[1].units, fill.trades[1].profit) == (Decimal(20), Decimal("-0.1"))


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        ({"id": "8"}, "transaction.type"),
        ({"type": "X", "id": "abc"}, "transaction.id"),
        ({"type": "ORDER_FILL", "id": "8", "units": "many"}, "units"),
        ({"type": "ORDER_FILL", "id": "8", "units": "NaN"}, "units"),
    ],
)
def test_bad_transaction_names_the_field(raw: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        parse_transaction(raw)


def test_answer_has_its_transactions_by_id() -> None:
    body = {
        "orderFillTransaction": {"id": "8", "type": "ORDER_FILL", "units": "1", "price": "1"},
        "orderCreateTransaction": {"id": "7", "type": "MARKET_ORDER"},
        "relatedTransactionIDs": ["7", "8"],
        "lastTransactionID": "8",
    }
    answer = wire.parse_answer(body, "request-1")
    assert [item.id for item in answer.transactions] == [7, 8]
    assert (answer.last_transaction_id, answer.request_id) == (8, "request-1")


def test_quote_without_a_side_is_none() -> None:
    assert wire.parse_quote({"instrument": "EUR_USD", "time": "0", "bids": [], "asks": [{"price": "1"}]}, NOW) is None


def test_position_is_net() -> None:
    position = wire.parse_position(
        {
            "instrument": "EUR_USD",
            "pl": "1.5",
            "unrealizedPL": "-2",
            "long": {"units": "0", "pl": "1"},
            "short": {"units": "-300", "averagePrice": "1.10000"},
        }
    )
    assert (position.units, position.average_price) == (Decimal(-300), Decimal("1.10000"))


def test_order_of_an_unknown_kind_is_taken() -> None:
    found = wire.parse_order(
        {
            "id": "9",
            "type": "FIXED_PRICE",
            "instrument": "EUR_USD",
            "units": "-5",
            "createTime": "0",
            "state": "PENDING",
        },
        "101",
        "external",
    )
    assert (found.request.type, found.request.side, found.request.units) == (OrderType.LIMIT, Side.SELL, Decimal(5))
    assert found.request.client_order_id == "venue:9"


def test_order_made_by_hand_keeps_its_end_bound_trigger_and_attached_orders() -> None:
    found = wire.parse_order(
        {
            "id": "9",
            "type": "STOP",
            "instrument": "EUR_USD",
            "units": "500",
            "price": "1.12000",
            "priceBound": "1.12100",
            "timeInForce": "GTD",
            "gtdTime": "2026-01-06T10:00:00.000000000Z",
            "triggerCondition": "MID",
            "positionFill": "REDUCE_FIRST",
            "takeProfitOnFill": {"price": "1.13000", "timeInForce": "GTC", "clientExtensions": {"tag": "web"}},
            "guaranteedStopLossOnFill": {"distance": "0.0100", "timeInForce": "GFD"},
            "trailingStopLossOnFill": {
                "distance": "0.0200", "timeInForce": "GTD", "gtdTime": "2026-01-07T10:00:00.000000000Z"
            },
            "createTime": "2026-01-05T10:00:00.000000000Z",
            "state": "PENDING",
        },
        "101",
        "external",
    ).request  # fmt: skip
    assert (found.price_bound, found.trigger_condition, found.time_in_force, found.expires_at) == (
        Decimal("1.12100"),
        TriggerCondition.MID,
        TimeInForce.GTD,
        datetime(2026, 1, 6, 10, tzinfo=UTC),
    )
    assert found.take_profit == Protection(price=Decimal("1.13000"), tag="web")
    assert found.stop_loss == Protection(distance=Decimal("0.0100"), guaranteed=True, time_in_force=TimeInForce.GFD)
    assert found.trailing_stop == Protection(
        distance=Decimal("0.0200"), time_in_force=TimeInForce.GTD, expires_at=datetime(2026, 1, 7, 10, tzinfo=UTC)
    )


def test_conversion_takes_the_larger_factor() -> None:
    prices: list[wire.Json] = [
        {"instrument": "USD_JPY", "quoteHomeConversionFactors": {"positiveUnits": "0.0066", "negativeUnits": "0.0067"}},
        {"instrument": "EUR_USD"},
    ]
    assert wire.parse_conversions({"prices": prices}) == {"USD_JPY": Decimal("0.0067")}


def test_conversions_are_read_from_the_answers_own_list_where_prices_have_none() -> None:
    # Shape of an answer recorded in September 2026, with includeHomeConversions.
    home = [
        {"currency": "EUR", "accountGain": "1.08", "accountLoss": "1.12", "positionValue": "1.10"},
        {"currency": "JPY", "accountGain": "0.0066", "accountLoss": "0.0068", "positionValue": "0.0067"},
    ]
    prices = [{"instrument": "USD_JPY"}, {"instrument": "EUR_USD"}]
    assert wire.parse_conversions({"prices": prices, "homeConversions": home}) == {"USD_JPY": Decimal("0.0067")}
