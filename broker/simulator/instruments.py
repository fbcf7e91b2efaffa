"""What the simulated venue lists, with the fields that clients of v20 read (`/accounts/{id}/instruments`)."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """An instrument, and how its price behaves."""

    name: str
    kind: str = "CURRENCY"
    precision: int = 5
    pip_location: int = -4
    price: Decimal
    """Where its price starts."""
    half_spread: Decimal
    volatility: float = 0.00003
    """Standard deviation of a step, as a share of the price."""
    margin_rate: Decimal = Decimal("0.0333")
    maximum_units: Decimal = Decimal(100_000_000)
    minimum_units: Decimal = Decimal(1)

    @property
    def quote_currency(self) -> str:
        """The currency of its price."""
        return self.name.partition("_")[2]

    def round(self, price: Decimal) -> Decimal:
        """A price at the instrument's precision."""
        return price.quantize(Decimal(1).scaleb(-self.precision))

    def wire(self) -> dict[str, Any]:
        """The venue's object."""
        return {
            "name": self.name,
            "type": self.kind,
            "displayName": self.name.replace("_", "/"),
            "pipLocation": self.pip_location,
            "displayPrecision": self.precision,
            "tradeUnitsPrecision": 0,
            "minimumTradeSize": str(self.minimum_units),
            "maximumTrailingStopDistance": "1.00000",
            "minimumTrailingStopDistance": "0.00050",
            "maximumPositionSize": "0",
            "maximumOrderUnits": str(self.maximum_units),
            "marginRate": str(self.margin_rate),
        }


def _pair(name: str, price: str, half_spread: str, **more: Any) -> Listing:
    return Listing(name=name, price=Decimal(price), half_spread=Decimal(half_spread), **more)


_YEN: dict[str, Any] = {"precision": 3, "pip_location": -2}
_CFD: dict[str, Any] = {"kind": "CFD", "precision": 1, "pip_location": 0, "margin_rate": Decimal("0.05")}
LISTINGS = {
    item.name: item
    for item in (
        _pair("EUR_USD", "1.08500", "0.00007"),
        _pair("GBP_USD", "1.27000", "0.00010"),
        _pair("USD_JPY", "151.500", "0.008", **_YEN),
        _pair("AUD_USD", "0.66000", "0.00008"),
        _pair("NZD_USD", "0.61000", "0.00010"),
        _pair("USD_CHF", "0.88500", "0.00009"),
        _pair("USD_CAD", "1.36000", "0.00010"),
        _pair("EUR_GBP", "0.85400", "0.00008"),
        _pair("EUR_JPY", "164.400", "0.012", **_YEN),
        _pair("GBP_JPY", "192.400", "0.018", **_YEN),
        _pair("XAU_USD", "2350.00", "0.20", kind="METAL", precision=3, pip_location=-2, margin_rate=Decimal("0.05")),
        _pair("SPX500_USD", "5200.0", "0.4", **_CFD),
        _pair("DE30_EUR", "18200.0", "1.2", **_CFD),
    )
}
