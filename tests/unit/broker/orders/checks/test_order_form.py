from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from broker.domain import OrderType, Protection, Side
from tests.unit.broker.orders.checks.test_risk import reason
from tests.unit.broker.orders.samples import make_request


def at(price: str) -> Protection:
    return Protection(price=Decimal(price))


def away(distance: str) -> Protection:
    return Protection(distance=Decimal(distance))


# The market is 1.0999 to 1.1001.
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"stop_loss": at("1.09"), "take_profit": at("1.11")}, None),
        ({"stop_loss": at("0.2")}, "PRICE_COLLAR"),
        ({"stop_loss": away("0.9")}, "PRICE_COLLAR"),
        ({"trailing_stop": away("0.9")}, "PRICE_COLLAR"),
        ({"take_profit": at("1.5")}, "PRICE_COLLAR"),
        ({"stop_loss": at("1.1001")}, "STOP_LOSS_ON_FILL_LOSS"),
        ({"take_profit": at("1.0999")}, "TAKE_PROFIT_ON_FILL_LOSS"),
        ({"stop_loss": at("1.1000")}, None),
        ({"side": Side.SELL, "stop_loss": at("1.11"), "take_profit": at("1.09")}, None),
        ({"side": Side.SELL, "stop_loss": at("1.09")}, "STOP_LOSS_ON_FILL_LOSS"),
        ({"side": Side.SELL, "take_profit": at("1.11")}, "TAKE_PROFIT_ON_FILL_LOSS"),
        ({"stop_loss": away("0")}, "PROTECTION_DISTANCE_INVALID"),
        ({"take_profit": away("-0.01")}, "PROTECTION_DISTANCE_INVALID"),
        ({"trailing_stop": away("1.2")}, "PROTECTION_DISTANCE_INVALID"),
    ],
)
def test_attached_orders_lie_on_their_side_and_near(fields: dict[str, Any], expected: str | None) -> None:
    assert reason(make_request(**fields)) == expected


def test_attached_orders_of_a_resting_order_are_measured_from_its_price() -> None:
    resting = {"type": OrderType.LIMIT, "price": Decimal("1.08")}
    assert reason(make_request(stop_loss=at("1.07"), take_profit=at("1.09"), **resting)) is None
    assert reason(make_request(stop_loss=at("1.09"), **resting)) == "STOP_LOSS_ON_FILL_LOSS"


def test_a_wide_stop_passes_where_the_collar_is_off() -> None:
    assert reason(make_request(stop_loss=at("0.2")), protection_collar_ratio=Decimal(0)) is None
    assert reason(make_request(stop_loss=away("1.2")), protection_collar_ratio=Decimal(0)) == (
        "PROTECTION_DISTANCE_INVALID"
    )


@pytest.mark.parametrize(
    ("kind", "price", "expected"),
    [
        (OrderType.STOP_LOSS, "1.0", None),
        (OrderType.STOP_LOSS, "0.2", "PRICE_COLLAR"),
        (OrderType.GUARANTEED_STOP_LOSS, "0.2", "PRICE_COLLAR"),
        (OrderType.TAKE_PROFIT, "1.5", "PRICE_COLLAR"),
    ],
)
def test_stop_or_target_that_is_placed_later_is_near_too(kind: OrderType, price: str, expected: str | None) -> None:
    order = make_request(type=kind, side=Side.SELL, trade_id="5", price=Decimal(price))
    assert reason(order) == expected


@pytest.mark.parametrize(("kind", "price"), [(OrderType.STOP_LOSS, "1.11"), (OrderType.TAKE_PROFIT, "1.09")])
def test_stop_or_target_that_the_price_has_passed_is_an_exit_at_once_and_goes(kind: OrderType, price: str) -> None:
    assert reason(make_request(type=kind, side=Side.SELL, trade_id="5", price=Decimal(price))) is None
