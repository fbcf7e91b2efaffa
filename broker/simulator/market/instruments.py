"""Instruments of the simulated venue, with the fields that clients of v20 read (`/accounts/{id}/instruments`)."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """An instrument, and the behaviour of its price."""

    name: str
    kind: str = "CURRENCY"
    precision: int = 5
    pip_location: int = -4
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

    def round(self, price: Decimal) -> Decimal:
        """Round a price to the instrument's precision."""
        return price.quantize(Decimal(1).scaleb(-self.precision))

    def payload(self) -> dict[str, Any]:
        """The instrument as an `Instrument` of v20."""
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


_HOME_VALUES = """
USD 1  EUR 1.085  GBP 1.27  AUD 0.66  NZD 0.61  CHF 1.13  CAD 0.735  SGD 0.745  HKD 0.128  JPY 0.0066
SEK 0.0955  NOK 0.094  DKK 0.1455  CNH 0.138  PLN 0.252  CZK 0.0431  HUF 0.00276  MXN 0.0585  ZAR 0.0535
THB 0.0275  TRY 0.031
""".split()  # noqa: SIM905 - pairs read better as words
HOME_VALUES = dict(zip(_HOME_VALUES[::2], _HOME_VALUES[1::2], strict=True))
"""US dollars for one unit of a currency when a market opens."""
_PAIRS = """
EUR_USD GBP_USD USD_JPY AUD_USD NZD_USD USD_CHF USD_CAD EUR_GBP EUR_JPY GBP_JPY AUD_CAD AUD_CHF AUD_HKD AUD_JPY
AUD_NZD AUD_SGD CAD_CHF CAD_HKD CAD_JPY CAD_SGD CHF_HKD CHF_JPY CHF_ZAR EUR_AUD EUR_CAD EUR_CHF EUR_CZK EUR_DKK
EUR_HKD EUR_HUF EUR_NOK EUR_NZD EUR_PLN EUR_SEK EUR_SGD EUR_TRY EUR_ZAR GBP_AUD GBP_CAD GBP_CHF GBP_HKD GBP_NZD
GBP_PLN GBP_SGD GBP_ZAR HKD_JPY NZD_CAD NZD_CHF NZD_HKD NZD_JPY NZD_SGD SGD_CHF SGD_JPY TRY_JPY USD_CNH USD_CZK
USD_DKK USD_HKD USD_HUF USD_MXN USD_NOK USD_PLN USD_SEK USD_SGD USD_THB USD_TRY USD_ZAR ZAR_JPY
""".split()  # noqa: SIM905 - 68 names read better as words
_COARSE = frozenset({"JPY", "HUF", "THB"})
"""Quote currencies with prices of three places."""


def _pair(name: str) -> Listing:
    base, _, quote = name.partition("_")
    precision = 3 if quote in _COARSE else 5
    point = Decimal(1).scaleb(-precision)
    price = round(Decimal(HOME_VALUES[base]) / Decimal(HOME_VALUES[quote]), precision)
    share = Decimal("0.00007") if "USD" in name else Decimal("0.00010")
    return Listing(
        name=name,
        precision=precision,
        pip_location=1 - precision,
        price=price,
        # At least one point: a pair of small price would have no spread at all.
        half_spread=max((price * share).quantize(point, rounding=ROUND_DOWN), point),
    )


def _other(name: str, kind: str, price: str, half_spread: str, precision: int) -> Listing:
    return Listing(
        name=name,
        kind=kind,
        precision=precision,
        pip_location=1 - precision,
        price=Decimal(price),
        half_spread=Decimal(half_spread),
        margin_rate=Decimal("0.05"),
    )


_OTHERS = (
    ("XAU_USD", "METAL", "2350.000", "0.200", 3),
    ("XAG_USD", "METAL", "28.50000", "0.01200", 5),
    ("XPT_USD", "METAL", "960.000", "1.500", 3),
    ("XPD_USD", "METAL", "980.000", "2.500", 3),
    ("XAU_EUR", "METAL", "2165.000", "0.300", 3),
    ("SPX500_USD", "CFD", "5200.0", "0.4", 1),
    ("NAS100_USD", "CFD", "18200.0", "1.0", 1),
    ("US30_USD", "CFD", "39000.0", "1.6", 1),
    ("US2000_USD", "CFD", "2050.000", "0.300", 3),
    ("DE30_EUR", "CFD", "18200.0", "1.2", 1),
    ("EU50_EUR", "CFD", "5000.0", "0.8", 1),
    ("FR40_EUR", "CFD", "8100.0", "0.7", 1),
    ("ESPIX_EUR", "CFD", "11000.0", "3.0", 1),
    ("NL25_EUR", "CFD", "880.000", "0.100", 3),
    ("UK100_GBP", "CFD", "8200.0", "0.8", 1),
    ("CH20_CHF", "CFD", "11800.0", "1.5", 1),
    ("AU200_AUD", "CFD", "7800.0", "1.5", 1),
    ("JP225_USD", "CFD", "38500.0", "4.0", 1),
    ("HK33_HKD", "CFD", "18500.0", "4.0", 1),
    ("SG30_SGD", "CFD", "310.00", "0.10", 2),
    ("CN50_USD", "CFD", "12400.0", "3.0", 1),
    ("BCO_USD", "CFD", "83.000", "0.015", 3),
    ("WTICO_USD", "CFD", "79.000", "0.015", 3),
    ("NATGAS_USD", "CFD", "2.350", "0.004", 3),
    ("XCU_USD", "CFD", "4.60000", "0.00150", 5),
    ("CORN_USD", "CFD", "4.520", "0.010", 3),
    ("WHEAT_USD", "CFD", "6.100", "0.010", 3),
    ("SOYBN_USD", "CFD", "11.900", "0.010", 3),
    ("SUGAR_USD", "CFD", "0.19200", "0.00015", 5),
    ("DE10YB_EUR", "CFD", "131.000", "0.010", 3),
    ("UK10YB_GBP", "CFD", "97.500", "0.015", 3),
    ("USB10Y_USD", "CFD", "109.500", "0.015", 3),
    ("USB30Y_USD", "CFD", "118.000", "0.020", 3),
)
LISTINGS = {item.name: item for item in (*map(_pair, _PAIRS), *(_other(*fields) for fields in _OTHERS))}
