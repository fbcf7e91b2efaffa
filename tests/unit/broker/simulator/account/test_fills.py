from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.simulator.account import trading
from tests.unit.broker.simulator.account.test_matching import SampleAccount


def with_liquidity(*units: int) -> SampleAccount:
    sample = SampleAccount()
    sample.market.liquidity = units
    sample.price("1.08500")
    return sample


def fills(sample: SampleAccount) -> list[tuple[str, str, str]]:
    """Units, units that were asked for, and price."""
    found = [entry for entry in sample.book.log if entry["type"] == "ORDER_FILL"]
    return [(entry["units"], entry["requestedUnits"], entry["price"]) for entry in found]


def test_an_immediate_order_takes_what_is_there_and_its_rest_ends() -> None:
    sample = with_liquidity(600)

    made = sample.order(units="1000", timeInForce="IOC")

    assert fills(sample) == [("600", "1000", "1.08507")]
    assert "orderCancelTransaction" not in made
    assert sample.book.orders[made["orderCreateTransaction"]["id"]].state == "FILLED"


@pytest.mark.parametrize(
    ("units", "average"), [("600", "1.08507"), ("1000", "1.08508"), ("-600", "1.08493"), ("-1000", "1.08492")]
)
def test_a_large_order_is_filled_at_the_volume_weighted_price(units: str, average: str) -> None:
    sample = with_liquidity(600, 100, 300)

    fill = sample.order(units=units)["orderFillTransaction"]

    assert (fill["price"], fill["fullVWAP"], fill["units"]) == (average, average, units)


def test_a_bound_takes_only_the_levels_within_it() -> None:
    sample = with_liquidity(600, 400, 1000)

    part = sample.order(units="2000", timeInForce="IOC", priceBound="1.08508")
    killed = sample.order(units="2000", timeInForce="FOK", priceBound="1.08508")

    assert part["orderFillTransaction"]["units"] == "1000"
    assert killed["orderCancelTransaction"]["reason"] == "BOUNDS_VIOLATION"


def test_a_resting_limit_order_is_filled_in_parts_and_waits_on() -> None:
    sample = with_liquidity(600)
    order = sample.order(type="LIMIT", units="1000", price="1.08000")["orderCreateTransaction"]["id"]

    sample.price("1.07900")
    sample.rules.tick()
    waits = (sample.book.orders[order].state, fills(sample))
    sample.price("1.07950")

    assert waits == ("PENDING", [("600", "1000", "1.07907")])
    assert fills(sample)[1:] == [("400", "400", "1.07957")]
    assert sample.book.orders[order].state == "FILLED"
    assert sample.book.position("EUR_USD") == 1000


def test_the_rest_of_a_limit_order_can_be_cancelled() -> None:
    sample = with_liquidity(600)

    made = sample.order(type="LIMIT", units="1000", price="1.09000")
    order = made["orderCreateTransaction"]["id"]
    cancelled = trading.cancel(sample.rules, order)

    assert made["orderFillTransaction"]["units"] == "600"
    assert "orderCancelTransaction" not in made
    assert cancelled["orderCancelTransaction"]["orderID"] == order
    assert sample.book.position("EUR_USD") == 600


def test_a_triggered_stop_takes_whatever_it_needs() -> None:
    sample = with_liquidity(600)
    sample.order(units="500", timeInForce="IOC")
    sample.order(units="500", timeInForce="IOC", stopLossOnFill={"price": "1.08000"})
    sample.market.liquidity = (100, 100)

    sample.price("1.07000")

    assert fills(sample)[-1] == ("-500", "-500", "1.06992")


def test_a_fill_tells_its_costs_in_both_currencies() -> None:
    sample = SampleAccount()
    sample.order(instrument="USD_JPY", units="1000")
    opened = sample.last["price"]

    sample.order(instrument="USD_JPY", units="-1000")

    fill = sample.last
    closed = fill["tradesClosed"][0]
    quote = (Decimal(fill["price"]) - Decimal(opened)) * 1000
    loss = Decimal(fill["homeConversionFactors"]["lossQuoteHome"]["factor"])
    assert Decimal(fill["quotePL"]) == quote < 0
    assert Decimal(fill["pl"]) == round(quote * loss, 4) == Decimal(closed["realizedPL"])
    assert fill["lossQuoteHomeConversionFactor"] == fill["homeConversionFactors"]["lossQuoteHome"]["factor"]
    assert fill["homeConversionFactors"]["gainBaseHome"] == {"factor": "1"}
    assert closed["halfSpreadCost"] == fill["halfSpreadCost"]


def test_a_loss_converts_worse_than_a_gain() -> None:
    sample = SampleAccount()

    sample.order(instrument="USD_JPY", units="1")

    factors: dict[str, Any] = sample.last["homeConversionFactors"]
    gain, loss = (Decimal(factors[name]["factor"]) for name in ("gainQuoteHome", "lossQuoteHome"))
    assert round(loss / gain, 6) == round(Decimal("1.01") / Decimal("0.99"), 6)


def test_a_guaranteed_stop_costs_its_premium_when_it_fills() -> None:
    sample = SampleAccount()
    sample.order(units="1000", guaranteedStopLossOnFill={"price": "1.08000"})
    stop = sample.last

    sample.price("1.05000")

    assert stop["guaranteedExecutionPremium"] == "0.00020"
    assert (sample.last["guaranteedExecutionFee"], sample.last["pl"]) == ("0.2000", "-5.0700")
    assert sample.last["accountBalance"] == "99994.7300"


@settings(max_examples=150, deadline=None)
@given(
    depth=st.lists(st.integers(0, 2000), min_size=1, max_size=4),
    units=st.integers(1, 5000).map(lambda number: number if number % 2 else -number),
    order=st.sampled_from(
        [
            {"type": "LIMIT", "timeInForce": "GTC"},
            {"type": "LIMIT", "timeInForce": "IOC"},
            {"type": "LIMIT", "timeInForce": "FOK"},
            {"type": "MARKET", "timeInForce": "IOC"},
            {"type": "MARKET", "timeInForce": "FOK"},
        ]
    ),
    points=st.integers(-3, 12),
)
def test_no_fill_exceeds_the_depth_or_passes_its_limit(
    depth: list[int], units: int, order: dict[str, str], points: int
) -> None:
    sample = with_liquidity(*depth)
    sign = 1 if units > 0 else -1
    worst = sample.market.prices["EUR_USD"].side(Decimal(units)) + sign * points * Decimal("0.00001")

    limit = {"price" if order["type"] == "LIMIT" else "priceBound": str(worst)}
    made = sample.order(units=str(units), **order, **limit)

    reachable = sum(depth[: points + 1]) if points >= 0 else 0
    fill = made.get("orderFillTransaction")
    traded = abs(Decimal(fill["units"])) if fill else Decimal(0)
    wanted = min(abs(units), reachable)
    assert traded == (wanted if order["timeInForce"] != "FOK" or wanted == abs(units) else 0)
    assert fill is None or (worst - Decimal(fill["price"])) * sign >= 0
    assert len(sample.book.pending()) == (order["timeInForce"] == "GTC" and wanted < abs(units))
    assert ("orderCancelTransaction" in made) == (fill is None and order["timeInForce"] != "GTC")
