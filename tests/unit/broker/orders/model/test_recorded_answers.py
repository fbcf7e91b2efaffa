"""The venue's answers in their recorded shapes: each order ends as the answer means."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from broker.domain import Order, OrderStatus
from broker.orders.model.lifecycle import fold
from broker.venue import errors
from broker.venue.rest.answer import read_answer
from broker.venue.v20 import parse as wire
from tests.unit.broker.orders.samples import CLIENT_ID, NOW, make_record

ANSWERS = Path(__file__).parents[4] / "data" / "v20" / "answers"
S = OrderStatus


def recorded(name: str) -> dict[str, Any]:
    """The sample, with our client id where the recorded request had none."""
    sample: dict[str, Any] = json.loads((ANSWERS / f"{name}.json").read_text())
    for key, item in sample["answer"].items():
        if key.endswith(("CreateTransaction", "RejectTransaction")):
            item["clientExtensions"] = {"id": CLIENT_ID}
        elif key.endswith("FillTransaction"):
            item["clientOrderID"] = CLIENT_ID
    return sample


def outcome(name: str) -> tuple[Order, str | None]:
    """The order after the answer, and the venue's error code."""
    sample = recorded(name)
    try:
        body = read_answer("create_order", sample["status"], {}, json.dumps(sample["answer"]).encode())
    except errors.VenueRefusedError as error:
        body = error.body
    answer = wire.parse_answer(body)
    asked = next((abs(Decimal(item.raw["units"])) for item in answer.transactions if item.is_create), Decimal(100))
    return fold(make_record(units=asked), answer.transactions, NOW).order, answer.error_code


@pytest.mark.parametrize(
    ("name", "status", "reason", "units"),
    [
        ("market_filled", S.FILLED, None, 100),
        ("market_sell_short", S.FILLED, None, 70),
        ("market_partly_filled", S.PARTIALLY_FILLED, None, None),
        ("market_protected", S.FILLED, None, 100),
        ("market_reduces_and_closes", S.FILLED, None, None),
        ("market_bounds_violation", S.CANCELLED, "BOUNDS_VIOLATION", 0),
        ("market_halted", S.CANCELLED, "MARKET_HALTED", 0),
        ("limit_pending", S.PENDING, None, 0),
        ("replaced", S.PENDING, None, 0),
        ("position_closed", S.FILLED, None, None),
        ("trade_closed", S.FILLED, None, 10),
        ("client_id_taken", S.REJECTED, "CLIENT_ORDER_ID_ALREADY_EXISTS", 0),
        ("time_in_force_invalid", S.REJECTED, "TIME_IN_FORCE_INVALID", 0),
        ("trade_unknown", S.REJECTED, "TRADE_DOESNT_EXIST", 0),
        ("position_close_wrong_side", S.REJECTED, "CLOSEOUT_POSITION_DOESNT_EXIST", 0),
    ],
)
def test_order_ends_as_its_answer_means(name: str, status: OrderStatus, reason: str | None, units: int | None) -> None:
    order, _ = outcome(name)
    assert (order.status, order.reason) == (status, reason)
    expected = units if units is not None else abs(Decimal(fill_of(name)["units"]))
    assert order.filled_units == expected


def fill_of(name: str) -> dict[str, Any]:
    return next(item for key, item in recorded(name)["answer"].items() if key.endswith("FillTransaction"))


def test_partial_fill_is_of_less_than_was_asked() -> None:
    order, _ = outcome("market_partly_filled")
    assert Decimal(0) < order.filled_units < Decimal(100)


def test_fill_that_reduces_and_closes_names_every_trade() -> None:
    order, _ = outcome("market_reduces_and_closes")
    fill = fill_of("market_reduces_and_closes")
    closed = [item["tradeID"] for item in fill["tradesClosed"]]
    assert order.fills[0].trade_ids == (*closed, fill["tradeReduced"]["tradeID"])


def test_refusal_without_a_transaction_has_the_venues_code() -> None:
    order, code = outcome("instrument_unknown")
    assert (order.status, code) == (S.SUBMITTED, "oanda::rest::core::InvalidParameterException")


@pytest.mark.parametrize(
    "name", ["summary", "instruments", "pricing", "openPositions", "openTrades", "pendingOrders", "log"]
)
def test_readings_are_read(name: str) -> None:
    body = json.loads((ANSWERS / f"{name}.json").read_text())["answer"]
    readers: dict[str, Callable[[], Any]] = {
        "summary": lambda: wire.parse_account(body).id,
        "instruments": lambda: [wire.parse_instrument(item).name for item in body["instruments"]],
        "pricing": lambda: [wire.parse_quote(item, NOW) for item in body["prices"]],
        "openPositions": lambda: [wire.parse_position(item).units for item in body["positions"]],
        "openTrades": lambda: [wire.parse_trade(item).units for item in body["trades"]],
        "pendingOrders": lambda: [wire.parse_order(item, "101", "external").id for item in body["orders"]],
        "log": lambda: [item.id for item in wire.parse_page(body).transactions],
    }
    found = readers[name]()
    assert found
    if name == "log":
        assert found == [int(item["id"]) for item in body["transactions"]]
