"""The market order that closing a position or a trade amounts to."""

from __future__ import annotations

from decimal import Decimal

from broker.domain import OrderRequest, OrderType, PositionFill, Side, TimeInForce


def request(
    *,
    client: str,
    client_order_id: str,
    account: str,
    instrument: str,
    held: Decimal,
    units: Decimal | None,
    traceparent: str | None,
) -> OrderRequest:
    """Against `held` (signed), as much as `units` or all of it, and never beyond."""
    return OrderRequest(
        client_order_id=client_order_id,
        client=client,
        account=account,
        instrument=instrument,
        type=OrderType.MARKET,
        side=Side.SELL if held > 0 else Side.BUY,
        units=units if units is not None else abs(held),
        time_in_force=TimeInForce.FOK,
        position_fill=PositionFill.REDUCE_ONLY,
        traceparent=traceparent,
    )
