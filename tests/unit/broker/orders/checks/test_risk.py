from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from broker.domain import Instrument, OrderRequest, OrderType, PositionFill, Protection, Quote, Side, TimeInForce
from broker.events import CATALOGUE
from broker.events.orders import CHECK_NAMES
from broker.orders.checks.market_view import MarketView, Usage
from broker.orders.checks.risk import CHECKS, Denial, check, is_exit, outcomes
from broker.orders.model.trading_state import TradingState
from broker.orders.settings import OrderSettings, RiskLimits
from tests.unit.broker.orders.samples import NOW, make_request

EUR_USD = Instrument(
    name="EUR_USD",
    display_precision=5,
    units_precision=0,
    pip_location=-4,
    minimum_units=Decimal(1),
    maximum_units=Decimal(1000000),
    margin_rate=Decimal("0.03"),
)
QUOTE = Quote(instrument="EUR_USD", bid=Decimal("1.0999"), ask=Decimal("1.1001"), time=NOW, received_at=NOW)
MARKET = MarketView(
    now=NOW,
    state=TradingState.ACTIVE,
    account="101",
    instrument=EUR_USD,
    quote=QUOTE,
    prices_alive=True,
    conversion=Decimal(1),
    position=Decimal(0),
    day_profit=Decimal(0),
)
LIMIT: dict[str, Any] = {"type": OrderType.LIMIT, "price": Decimal("1.1")}


def reason(request: OrderRequest, market: MarketView = MARKET, **settings: Any) -> str | None:
    found = check(request, market, OrderSettings(**settings))
    return found.reason if found is not None else None


def test_plain_order_passes_every_check() -> None:
    assert reason(make_request()) is None


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (make_request(account="999"), "ACCOUNT_UNKNOWN"),
        (make_request(time_in_force=TimeInForce.GTD), "TIME_IN_FORCE_INVALID"),
        (make_request(type=OrderType.LIMIT), "PRICE_UNSPECIFIED"),
        (make_request(type=OrderType.STOP_LOSS, price=Decimal("1.1")), "TRADE_ID_UNSPECIFIED"),
        (make_request(type=OrderType.TRAILING_STOP_LOSS, trade_id="1"), "PRICE_DISTANCE_UNSPECIFIED"),
        (make_request(time_in_force=TimeInForce.GTD, **LIMIT), "TIME_IN_FORCE_GTD_TIMESTAMP_MISSING"),
        (make_request(units=Decimal("1.5")), "UNITS_PRECISION_EXCEEDED"),
        (make_request(type=OrderType.LIMIT, price=Decimal("1.100001")), "PRICE_PRECISION_EXCEEDED"),
        (make_request(take_profit=Protection(distance=Decimal("0.000001"))), "PRICE_PRECISION_EXCEEDED"),
        (make_request(units=Decimal(0)), "UNITS_MINIMUM_NOT_MET"),
        (make_request(units=Decimal(1000001)), "UNITS_LIMIT_EXCEEDED"),
        (make_request(type=OrderType.LIMIT, price=Decimal("1.2")), "PRICE_COLLAR"),
        (make_request(price_bound=Decimal("1.0")), "PRICE_COLLAR"),
    ],
)
def test_order_is_denied_for_what_it_is(request_: OrderRequest, expected: str) -> None:
    assert reason(request_) == expected


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"state": TradingState.HALTED}, "TRADING_HALTED"),
        ({"state": TradingState.REDUCING}, "TRADING_REDUCING"),
        ({"instrument": None}, "INSTRUMENT_UNKNOWN"),
        ({"quote": None}, "PRICE_UNKNOWN"),
        ({"prices_alive": False}, "PRICE_STALE"),
        ({"quote": replace(QUOTE, tradeable=False)}, "MARKET_HALTED"),
        ({"twin": True}, "DUPLICATE_ORDER"),
        ({"circuit_allows": False}, "CIRCUIT_OPEN"),
    ],
)
def test_order_is_denied_for_what_the_market_is(changed: dict[str, Any], expected: str) -> None:
    assert reason(make_request(), replace(MARKET, **changed)) == expected


@pytest.mark.parametrize(
    ("limits", "changed", "expected"),
    [
        ({"units": 99}, {}, "UNITS_LIMIT_EXCEEDED"),
        ({"notional": 110}, {}, "NOTIONAL_LIMIT_EXCEEDED"),
        ({"notional": 110}, {"conversion": None}, "NOTIONAL_UNKNOWN"),
        ({"position_units": 150}, {"position": Decimal(60)}, "POSITION_LIMIT_EXCEEDED"),
        (
            {"orders_per_s": 5},
            {"account_usage": Usage(order_tokens=0.5), "client_usage": Usage()},
            "ORDER_RATE_EXCEEDED",
        ),
    ],
)
def test_limits_of_the_account_hold(limits: dict[str, Any], changed: dict[str, Any], expected: str) -> None:
    assert reason(make_request(), replace(MARKET, **changed), account=RiskLimits(**limits)) == expected


def test_limits_of_a_client_hold_for_that_client_only() -> None:
    clients = {"flow": RiskLimits(units=Decimal(50))}
    assert reason(make_request(), clients=clients) == "UNITS_LIMIT_EXCEEDED"
    assert reason(make_request(client="other"), clients=clients) is None


def test_notional_at_its_limit_passes() -> None:
    assert reason(make_request(), account=RiskLimits(notional=Decimal("110.01"))) is None


def test_quiet_market_is_not_stale_while_heartbeats_come() -> None:
    market = replace(MARKET, now=NOW + timedelta(hours=1))
    assert reason(make_request(), market) is None
    assert reason(make_request(**LIMIT), market) is None


def test_price_older_than_its_limit_refuses_market_orders_alone() -> None:
    market = replace(MARKET, now=NOW + timedelta(seconds=61))
    assert reason(make_request(), market, price_age_s=61.0) is None
    assert reason(make_request(), market, price_age_s=60.0) == "PRICE_STALE"
    assert reason(make_request(**LIMIT), market, price_age_s=60.0) is None


def test_reducing_lets_only_the_position_shrink() -> None:
    market = replace(MARKET, state=TradingState.REDUCING, position=Decimal(100))
    assert reason(make_request(side=Side.SELL), market) is None
    assert reason(make_request(side=Side.SELL, units=Decimal(101)), market) == "TRADING_REDUCING"
    assert reason(make_request(side=Side.BUY), market) == "TRADING_REDUCING"


def test_daily_loss_lets_only_the_position_shrink() -> None:
    market = replace(MARKET, day_profit=Decimal(-500), position=Decimal(100))
    assert reason(make_request(), market, daily_loss=500) == "DAILY_LOSS_EXCEEDED"
    assert reason(make_request(side=Side.SELL), market, daily_loss=500) is None
    assert reason(make_request(), market, daily_loss=501) is None


def test_reduce_only_beyond_the_position_still_reduces() -> None:
    request = make_request(side=Side.SELL, units=Decimal(500), position_fill=PositionFill.REDUCE_ONLY)
    assert is_exit(request, Decimal(100))
    assert not is_exit(request, Decimal(0))


def test_every_check_of_an_order_that_may_go_has_passed() -> None:
    assert list(outcomes(None)) == [(name, "passed") for name in CHECKS]


def test_checks_behind_a_denial_were_not_made() -> None:
    denial = Denial(check="instrument", reason="INSTRUMENT_UNKNOWN", message="")
    assert list(outcomes(denial)) == [("account", "passed"), ("state", "passed"), ("instrument", "denied")]


def test_every_check_counts_from_zero_and_with_an_order_that_passes() -> None:
    (passed,) = (event for event in CATALOGUE.events if event.name == "broker.risk.passed")
    assert set(CHECK_NAMES) == set(CHECKS)
    assert [item.constant for item in passed.instruments if item.name == "broker.risk.checks"] == [
        {"check": name, "result": "passed"} for name in CHECKS
    ]
