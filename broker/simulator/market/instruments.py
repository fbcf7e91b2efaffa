"""Instruments of the simulated venue, with the fields that clients of v20 read (`/accounts/{id}/instruments`)."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, Decimal
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """An instrument, and the behaviour of its price."""

    name: str
    kind: str = "CURRENCY"
    precision: int = 5
    price: Decimal
    """Price at the start."""
    half_spread: Decimal
    volatility: float = 0.00003
    """Standard deviation of a step, as a share of the price."""
    # 30 to 1, the most that a retail client in the EU may have on major pairs (ESMA decision 2018/796).
    margin_rate: Decimal = Decimal("0.0333")
    maximum_units: Decimal = Decimal(100_000_000)
    units_precision: int = 0
    """Places that an amount of units may have."""
    point: Decimal = field(init=False)
    """Last place of a price."""
    minimum_units: Decimal = field(init=False)
    """Least amount of an order: one in the last place that units have."""

    quote_currency: str = field(init=False)
    """Currency of its price."""

    def __post_init__(self) -> None:
        # Computed once: every price and every order needs them.
        object.__setattr__(self, "quote_currency", self.name.partition("_")[2])
        object.__setattr__(self, "point", Decimal(1).scaleb(-self.precision))
        object.__setattr__(self, "minimum_units", Decimal(1).scaleb(-self.units_precision))

    @property
    def trailing_distances(self) -> tuple[Decimal, Decimal]:
        """Least and largest distance of a trailing stop: 5 and 10,000 pips, as recorded of EUR_USD and USD_JPY."""
        return Decimal(50) * self.point, Decimal(100_000) * self.point

    @property
    def guaranteed_premium(self) -> Decimal:
        """Price of a guaranteed stop that is filled, a unit, in the quote currency: two pips, simple on purpose."""
        return Decimal(20) * self.point

    @property
    def base_currency(self) -> str | None:
        """Currency or metal that is traded; an index or a commodity is none."""
        return None if self.kind == "CFD" else self.name.partition("_")[0]

    @property
    def pip_location(self) -> int:
        """Power of ten of a pip, the last place but one of a price."""
        return 1 - self.precision

    def round(self, price: Decimal) -> Decimal:
        """Round a price to the instrument's precision."""
        return price.quantize(self.point)

    def payload(self) -> dict[str, Any]:
        """The instrument as an `Instrument` of v20."""
        names = {"name": self.name, "type": self.kind, "displayName": self.name.replace("_", "/")}
        places = {"pipLocation": self.pip_location, "displayPrecision": self.precision}
        sizes = {"minimumTradeSize": str(self.minimum_units), "maximumOrderUnits": str(self.maximum_units)}
        least, largest = map(str, self.trailing_distances)
        trailing = {"maximumTrailingStopDistance": largest, "minimumTrailingStopDistance": least}
        return {
            **names,
            **places,
            "tradeUnitsPrecision": self.units_precision,
            **sizes,
            **trailing,
            "maximumPositionSize": "0",
            "marginRate": str(self.margin_rate),
            "guaranteedStopLossOrderMode": "ALLOWED",
            "minimumGuaranteedStopLossDistance": str(self.trailing_distances[0]),
            "guaranteedStopLossOrderExecutionPremium": str(self.guaranteed_premium),
        }


_DATA = tomllib.loads(Path(__file__).with_name("instruments.toml").read_text(encoding="utf-8"))
HOME_VALUES: dict[str, str] = _DATA["home_values"]
"""US dollars for one unit of a currency when a market opens."""


def _pair(name: str) -> Listing:
    base, _, quote = name.partition("_")
    precision = 3 if quote in _DATA["coarse"] else 5
    price = round(Decimal(HOME_VALUES[base]) / Decimal(HOME_VALUES[quote]), precision)
    share, point = Decimal("0.00007") if "USD" in name else Decimal("0.00010"), Decimal(1).scaleb(-precision)
    # At least one point: a pair of small price would have no spread at all.
    half_spread = max((price * share).quantize(point, rounding=ROUND_DOWN), point)
    return Listing(name=name, precision=precision, price=price, half_spread=half_spread)


def _other(name: str, kind: str, price: str, half_spread: str) -> Listing:
    precision = len(price.partition(".")[2])
    return Listing(
        name=name,
        kind=kind,
        precision=precision,
        price=Decimal(price),
        half_spread=Decimal(half_spread),
        margin_rate=Decimal("0.05"),
        units_precision=_DATA["fractional"].get(name, 0),
    )


LISTINGS = {name: _pair(name) for name in _DATA["pairs"].split()}
for _kind, _members in _DATA["others"].items():
    LISTINGS |= {name: _other(name, _kind, *fields) for name, fields in _members.items()}
