"""The average price of fills."""

from __future__ import annotations

from decimal import Decimal

from broker.domain import Fill

PLACES = Decimal("1e-10")


def average_price(fills: tuple[Fill, ...]) -> Decimal | None:
    """Price over the fills, weighted by units, to ten places; a single fill's own digits; none without fills."""
    if len(fills) == 1:
        return fills[0].price
    units = sum((fill.units for fill in fills), Decimal(0))
    if not units:
        return None
    worth = sum((fill.units * fill.price for fill in fills), Decimal(0))
    return (worth / units).quantize(PLACES).normalize()
