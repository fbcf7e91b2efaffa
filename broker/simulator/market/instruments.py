"""Instruments of the simulated venue, with the fields that clients of v20 read (`/accounts/{id}/instruments`)."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
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
    minimum_units: Decimal = Decimal(1)

    @property
    def quote_currency(self) -> str:
        """Currency of its price."""
        return self.name.partition("_")[2]

    @property
    def pip_location(self) -> int:
        """Power of ten of a pip, the last place but one of a price."""
        return 1 - self.precision

    def round(self, price: Decimal) -> Decimal:
        """Round a price to the instrument's precision."""
        return price.quantize(Decimal(1).scaleb(-self.precision))

    def payload(self) -> dict[str, Any]:
        """The instrument as an `Instrument` of v20."""
        names = {"name": self.name, "type": self.kind, "displayName": self.name.replace("_", "/")}
        places = {"pipLocation": self.pip_location, "displayPrecision": self.precision, "tradeUnitsPrecision": 0}
        sizes = {"minimumTradeSize": str(self.minimum_units), "maximumOrderUnits": str(self.maximum_units)}
        trailing = {"maximumTrailingStopDistance": "1.00000", "minimumTrailingStopDistance": "0.00050"}
        return names | places | sizes | trailing | {"maximumPositionSize": "0", "marginRate": str(self.margin_rate)}


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
    at, half, margin_rate = Decimal(price), Decimal(half_spread), Decimal("0.05")
    return Listing(name=name, kind=kind, precision=precision, price=at, half_spread=half, margin_rate=margin_rate)


LISTINGS = {name: _pair(name) for name in _DATA["pairs"].split()}
for _kind, _members in _DATA["others"].items():
    LISTINGS |= {name: _other(name, _kind, *fields) for name, fields in _members.items()}
