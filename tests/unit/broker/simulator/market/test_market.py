from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

import pytest

from broker.simulator.market.market import Price, Scenario, SimulatedMarket

START_NS = 1_767_700_800_000_000_000


def walk(scenario: Scenario, *, steps: int = 1000) -> list[Price]:
    """Prices of EUR_USD, one a step."""
    market = SimulatedMarket(3, START_NS, ("EUR_USD",))
    market.scenario = scenario
    found = []
    for step in range(1, steps + 1):
        market.step(START_NS + step)
        found.append(market.prices["EUR_USD"])
    return found


def jumps(prices: list[Price]) -> list[Decimal]:
    return [abs(after.mid / before.mid - 1) for before, after in pairwise(prices)]


def spread(price: Price) -> Decimal:
    return price.ask - price.bid


def test_a_calm_market_moves_in_small_steps() -> None:
    prices = walk(Scenario.CALM)

    assert len({price.mid for price in prices}) > 100
    assert max(jumps(prices)) < Decimal("0.001")


def test_a_gap_is_rare_and_half_a_percent() -> None:
    large = [size for size in jumps(walk(Scenario.GAP)) if size > Decimal("0.003")]

    assert 1 <= len(large) <= 15
    assert all(Decimal("0.004") < size < Decimal("0.006") for size in large)


def test_news_move_and_spread_prices() -> None:
    calm, news = walk(Scenario.CALM), walk(Scenario.NEWS)

    assert spread(news[0]) == 10 * spread(calm[0])
    assert sum(jumps(news)) > 10 * sum(jumps(calm))


def test_nothing_moves_or_trades_on_a_weekend() -> None:
    prices = walk(Scenario.WEEKEND)

    assert len({price.mid for price in prices}) == 1
    assert not any(price.tradeable for price in prices)


@pytest.mark.parametrize("scenario", Scenario)
def test_a_bid_is_below_its_ask(scenario: Scenario) -> None:
    assert all(0 < price.bid < price.ask for price in walk(scenario))
