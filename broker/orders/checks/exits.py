"""Exits: orders that can only make a position smaller. Checks that guard entries let them pass."""

from __future__ import annotations

from decimal import Decimal

from broker.domain import OrderRequest, PositionFill
from broker.venue.v20.order_requests import DEPENDENT


def is_exit(request: OrderRequest, position: Decimal, *, closes: bool = False) -> bool:
    """True if all of an order can only reduce: a close, an order of a trade, or one against `position` and within it.

    `closes`: it is sent as a close of a position or trade. An order against the position that is reduce_only may be
    larger: the venue cuts it.
    """
    # A close needs no position of ours: the venue has it, though our books may be behind.
    if closes or request.type in DEPENDENT:
        return True
    if position * request.side.sign >= 0 or request.position_fill is PositionFill.OPEN_ONLY:
        return False
    return request.position_fill is PositionFill.REDUCE_ONLY or request.units <= abs(position)
