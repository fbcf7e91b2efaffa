"""Routes that show trades and change the orders that protect them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from broker.api.auth.access import Reader, Trader
from broker.api.context import Account, Api
from broker.api.forwarding.standby import OwnerReads, OwnerTrades
from broker.api.http.json_body import BodyRoute
from broker.api.routes.orders import Caller, NotDraining, check_opener
from broker.api.schemas.outcomes import OutcomeList, outcomes_of, outcomes_response
from broker.api.schemas.requests import ClientId, ExtensionsBody, InstrumentName, TradeOrdersBody, VenueId
from broker.api.schemas.responses import BODY_ERRORS, COMMON_PROBLEMS, json_response, problems
from broker.api.schemas.trades import TradeList, TradeView, trade_view
from broker.orders.trades import TradeChange

routes = APIRouter(prefix="/v1/trades", tags=["trades"], responses=COMMON_PROBLEMS, route_class=BodyRoute)

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
    if owner is not None:
        account.orders.claim(owner)
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


@routes.put(
    "/{trade_id}/orders",
    responses={**problems(*BODY_ERRORS, 404, 409, 502), **outcomes_of(OutcomeList)},
    summary="Change a trade's take-profit and stops",
    dependencies=[NotDraining, OwnerTrades],
)
async def change_trade_orders(trade_id: TradeId, body: TradeOrdersBody, caller: Caller) -> Response:
    """Places, moves or cancels (null) each order that the body names; the others stay.

    Each is an order with an outcome of its own. The same Idempotency-Key means the same orders.
    """
    orders = caller.account.orders
    check_opener((await orders.trades.one(trade_id)).client, caller.client)
    given = caller.origin()
    change = TradeChange(
        trade_id=trade_id,
        legs=body.legs(),
        client=given["client"],
        key=given["client_order_id"],
        traceparent=given["traceparent"],
    )
    return outcomes_response(await caller.api.in_flight.run(orders.trades.change_orders(change)))


@routes.put(
    "/{trade_id}/extensions",
    response_model=TradeView,
    responses=problems(*BODY_ERRORS, 404, 502),
    summary="Change a trade's tag and comment",
    dependencies=[NotDraining, OwnerTrades],
)
async def change_trade_extensions(
    trade_id: TradeId, body: ExtensionsBody, api: Api, account: Account, client: Trader
) -> Response:
    """Sets tag and comment at the venue; may be sent twice without harm."""
    trades = account.orders.trades
    shown = await trades.one(trade_id)
    check_opener(shown.client, client)
    texts = body.texts(shown.trade.tag, shown.trade.comment)
    await api.in_flight.run(trades.change_extensions("trade", trade_id, shown.trade.client_id, **texts))
    return json_response(trade_view(await trades.one(trade_id)))
