"""Prices that move: a seeded random walk of each instrument, with scenarios."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from broker.simulator.market.instruments import HOME_VALUES, LISTINGS, Listing

BUY, SELL = Decimal(1), Decimal(-1)
HOME = "USD"
"""Currency of every account."""


class Scenario(StrEnum):
    """Behaviour of the market."""

    CALM = "calm"
    NEWS = "news"
    """Steps twenty times as large, spreads ten times as wide."""
    GAP = "gap"
    """Calm, but one step in two hundred jumps by about half a percent."""
    WEEKEND = "weekend"
    """Nothing is tradeable and nothing moves."""


_STEP = {Scenario.CALM: 1.0, Scenario.NEWS: 20.0, Scenario.GAP: 1.0, Scenario.WEEKEND: 0.0}
_SPREAD = {Scenario.CALM: 1, Scenario.NEWS: 10, Scenario.GAP: 2, Scenario.WEEKEND: 5}
_GAP_CHANCE = 0.005
_GAP_SIZE = 0.005
MARKUP = Decimal("0.01")
"""Share that a conversion between currencies costs, as recorded at the venue in `homeConversions`."""
LIQUIDITY: tuple[int, ...] = (10_000_000, 20_000_000, 30_000_000)
"""Units that trade at once at each level of a price, the best level first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Bid and ask of an instrument at a moment (`time_ns`, Unix)."""

    instrument: str
    bid: Decimal
    ask: Decimal
    time_ns: int
    tradeable: bool
    liquidity: tuple[int, ...] = LIQUIDITY
    step: Decimal = Decimal(0)
    """Distance between two levels."""

    def is_like(self, other: Price) -> bool:
        """True if nothing but the time differs."""
        return (self.bid, self.ask, self.tradeable, self.liquidity, self.step) == (
            other.bid,
            other.ask,
            other.tradeable,
            other.liquidity,
            other.step,
        )

    @property
    def mid(self) -> Decimal:
        """Price half way between bid and ask."""
        return (self.bid + self.ask) / 2

    def side(self, units: Decimal) -> Decimal:
        """Price at which a buy (positive units) or a sell trades."""
        return self.ask if units > 0 else self.bid

    def levels(self, units: Decimal) -> list[tuple[Decimal, int]]:
        """Prices and units that a buy (positive units) or a sell meets, the best first."""
        best, step = (self.ask, self.step) if units > 0 else (self.bid, -self.step)
        return [(best + step * place, size) for place, size in enumerate(self.liquidity)]

    def depth(self, units: Decimal, worst: Decimal | None = None) -> int:
        """Units that trade at once in the direction of `units`, at `worst` or better if given."""
        if worst is None:
            return sum(self.liquidity)
        sign = 1 if units > 0 else -1
        return sum(size for price, size in self.levels(units) if (worst - price) * sign >= 0)

    def average(self, units: Decimal) -> Decimal:
        """Volume-weighted price of a trade of `units`; whatever exceeds the depth trades at the last level."""
        left = abs(units)
        if left <= self.liquidity[0]:
            return self.side(units)
        value = Decimal(0)
        for price, size in self.levels(units):
            taken = min(left, Decimal(size))
            value += price * taken
            left -= taken
        return (value + price * left) / abs(units)


Prices = Mapping[str, Price]
"""By the name of the instrument."""


class SimulatedMarket:
    """All listed instruments; the same seed and the same steps give the same prices."""

    def __init__(self, seed: int, now_ns: int, names: Iterable[str] = LISTINGS) -> None:
        self.seed = seed
        self._chance = random.Random(seed)
        self._listings: dict[str, Listing] = {name: LISTINGS[name] for name in names}
        self._mids = {name: listing.price for name, listing in self._listings.items()}
        self.scenario = Scenario.CALM
        self.liquidity = LIQUIDITY
        self.prices: dict[str, Price] = {}
        self.step(now_ns)

    def step(self, now_ns: int) -> list[Price]:
        """Move every price once; returns those that changed."""
        changed = []
        for name, listing in self._listings.items():
            price = self._price(listing, now_ns)
            before = self.prices.get(name)
            # A price that did not change keeps its old time and is not streamed.
            if before is None or not before.is_like(price):
                self.prices[name] = price
                changed.append(price)
        return changed

    def place(self, instrument: str, mid: Decimal, now_ns: int) -> Price:
        """Set the price of an instrument, for a test."""
        listing = self._listings[instrument]
        self._mids[instrument] = mid
        self.prices[instrument] = self._quote(listing, mid, now_ns)
        return self.prices[instrument]

    def requote(self, instrument: str, now_ns: int) -> Price:
        """Quote the same price again with the present scenario and liquidity."""
        return self.place(instrument, self._mids[instrument], now_ns)

    def _price(self, listing: Listing, now_ns: int) -> Price:
        move = self._chance.gauss(0, listing.volatility) * _STEP[self.scenario]
        if self.scenario is Scenario.GAP and self._chance.random() < _GAP_CHANCE:
            move += self._chance.choice((-_GAP_SIZE, _GAP_SIZE))
        mid = self._mids[listing.name]
        # A weak pull to the start keeps a long run in a range that limits and margins make sense in.
        pull = float((listing.price - mid) / listing.price) * 0.001 * bool(move)
        self._mids[listing.name] = mid * Decimal(repr(1 + move + pull))
        return self._quote(listing, self._mids[listing.name], now_ns)

    def _quote(self, listing: Listing, mid: Decimal, now_ns: int) -> Price:
        half, tradeable = listing.half_spread * _SPREAD[self.scenario], self.scenario is not Scenario.WEEKEND
        return Price(
            instrument=listing.name,
            bid=listing.round(mid - half),
            ask=listing.round(mid + half),
            time_ns=now_ns,
            tradeable=tradeable,
            liquidity=self.liquidity,
            step=listing.point * _SPREAD[self.scenario],
        )


def conversion(currency: str, prices: Prices) -> dict[str, str]:
    """Factors of gains and of losses in a currency, as texts."""
    factor = value_at_home(currency, prices)
    if factor == 1:
        return {"gain": "1", "loss": "1"}
    return {name: str(round(converted(factor, gains=name == "gain"), 12)) for name in ("gain", "loss")}


def converted(factor: Decimal, *, gains: bool) -> Decimal:
    """Conversion factor of gains or of losses: the venue takes its mark-up from the client either way."""
    return factor * (1 - MARKUP if gains else 1 + MARKUP)


def value_at_home(currency: str, prices: Prices) -> Decimal:
    """Value of one unit of a currency in the account's at mid prices; a constant where no listed price has both."""
    if currency == HOME:
        return Decimal(1)
    if (direct := prices.get(f"{currency}_{HOME}")) is not None:
        return direct.mid
    if (inverse := prices.get(f"{HOME}_{currency}")) is not None:
        return 1 / inverse.mid
    return Decimal(HOME_VALUES[currency])
