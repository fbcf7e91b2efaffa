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
    price = round(Decimal(HOME_VALUES[base]) / Decimal(HOME_VALUES[quote]), precision)
    share, point = Decimal("0.00007") if "USD" in name else Decimal("0.00010"), Decimal(1).scaleb(-precision)
    # At least one point: a pair of small price would have no spread at all.
    half_spread = max((price * share).quantize(point, rounding=ROUND_DOWN), point)
    return Listing(name=name, precision=precision, price=price, half_spread=half_spread)


def _other(name: str, kind: str, price: str, half_spread: str) -> Listing:
    precision = len(price.partition(".")[2])
    at, half, margin_rate = Decimal(price), Decimal(half_spread), Decimal("0.05")
    return Listing(name=name, kind=kind, precision=precision, price=at, half_spread=half, margin_rate=margin_rate)


# Name, type, price at the start with all its places, and half of the spread.
_OTHERS = """
XAU_USD    METAL  2350.000   0.200  XAG_USD    METAL  28.50000 0.01200  XPT_USD    METAL   960.000   1.500
XPD_USD    METAL   980.000   2.500  XAU_EUR    METAL  2165.000   0.300  SPX500_USD CFD      5200.0     0.4
NAS100_USD CFD     18200.0     1.0  US30_USD   CFD     39000.0     1.6  US2000_USD CFD    2050.000   0.300
DE30_EUR   CFD     18200.0     1.2  EU50_EUR   CFD      5000.0     0.8  FR40_EUR   CFD      8100.0     0.7
ESPIX_EUR  CFD     11000.0     3.0  NL25_EUR   CFD     880.000   0.100  UK100_GBP  CFD      8200.0     0.8
CH20_CHF   CFD     11800.0     1.5  AU200_AUD  CFD      7800.0     1.5  JP225_USD  CFD     38500.0     4.0
HK33_HKD   CFD     18500.0     4.0  SG30_SGD   CFD      310.00    0.10  CN50_USD   CFD     12400.0     3.0
BCO_USD    CFD      83.000   0.015  WTICO_USD  CFD      79.000   0.015  NATGAS_USD CFD       2.350   0.004
XCU_USD    CFD     4.60000 0.00150  CORN_USD   CFD       4.520   0.010  WHEAT_USD  CFD       6.100   0.010
SOYBN_USD  CFD      11.900   0.010  SUGAR_USD  CFD     0.19200 0.00015  DE10YB_EUR CFD     131.000   0.010
UK10YB_GBP CFD      97.500   0.015  USB10Y_USD CFD     109.500   0.015  USB30Y_USD CFD     118.000   0.020
""".split()  # noqa: SIM905 - a table reads better as words
LISTINGS = {item.name: item for item in map(_pair, _PAIRS)}
LISTINGS |= {fields[0]: _other(*fields) for fields in zip(*[iter(_OTHERS)] * 4, strict=True)}
