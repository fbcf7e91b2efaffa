"""Routes that show trades and change the orders that protect them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from broker.api.auth.access import Reader
from broker.api.context import Account
from broker.api.forwarding.standby import OwnerReads
from broker.api.schemas.requests import ClientId, InstrumentName, VenueId
from broker.api.schemas.responses import COMMON_PROBLEMS, json_response, problems
from broker.api.schemas.trades import TradeList, TradeView, trade_view

routes = APIRouter(prefix="/v1/trades", tags=["trades"], responses=COMMON_PROBLEMS)

TradeId = Annotated[VenueId, Path(description="The venue's id of the trade.")]


@routes.get("", response_model=TradeList, responses=problems(502), summary="Open trades", dependencies=[OwnerReads])
async def list_trades(
    account: Account,
    _: Reader,
    instrument: Annotated[InstrumentName | None, Query()] = None,
    owner: Annotated[
        ClientId | None, Query(alias="client", description="Id of the API key whose orders opened them.")
    ] = None,
) -> Response:
    """Open trades with their take-profits and stops, as the venue says now, the oldest first."""
    found = [
        trade_view(item)
        for item in await account.orders.trades.open()
        if instrument in {None, item.trade.instrument} and owner in {None, item.client}
    ]
    return json_response(TradeList.model_construct(trades=found))


@routes.get(
    "/{trade_id}",
    response_model=TradeView,
    responses=problems(404, 502),
    summary="One trade",
    dependencies=[OwnerReads],
)
async def get_trade(trade_id: TradeId, account: Account, _: Reader) -> Response:
    """A trade, open or closed, as the venue says now."""
    return json_response(trade_view(await account.orders.trades.one(trade_id)))
