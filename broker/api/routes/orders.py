"""Routes that place, show, replace and cancel orders, and close positions and trades."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass
from http import HTTPStatus
from time import perf_counter
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.responses import JSONResponse

from broker.api.auth.access import Reader, Trader
from broker.api.auth.keys import ApiClient
from broker.api.context import Account, AccountApi, Api, ApiContext
from broker.api.forwarding.standby import OwnerReads, OwnerTrades
from broker.api.http.json_body import BodyRoute
from broker.api.http.problem import Problem, invalid
from broker.api.schemas.requests import (
    ClientOrderId,
    ClosePositionBody,
    CloseTradeBody,
    ExtensionsBody,
    InstrumentName,
    KnownOrderId,
    OrderBody,
    VenueId,
)
from broker.api.schemas.responses import (
    BODY_ERRORS,
    COMMON_PROBLEMS,
    OrderList,
    OrderView,
    Responses,
    TrialView,
    json_response,
    order_view,
    problems,
    trial_view,
)
from broker.domain import Order, OrderRequest, OrderStatus
from broker.events.orders import OrderStage
from broker.orders.errors import DrainingError, NotReadyError
from broker.orders.idempotency import Placed
from broker.orders.store.trade_book import EXTERNAL

routes = APIRouter(prefix="/v1", tags=["orders"], responses=COMMON_PROBLEMS, route_class=BodyRoute)

OrderId = Annotated[str, Path(pattern=r"^[0-9A-Za-z-]{1,40}$", description="The broker's id of the order.")]
TraceParent = Annotated[str | None, Header(description="W3C trace context of the caller.", max_length=200)]
IdempotencyKey = Annotated[
    ClientOrderId | None, Header(description="The same key is the same order, however often it is sent.")
]
_INVALID = HTTPStatus.UNPROCESSABLE_ENTITY
_REFUSED = frozenset({OrderStatus.DENIED, OrderStatus.REJECTED})
_CANCELLED = frozenset({OrderStatus.CANCELLED, OrderStatus.PARTIALLY_FILLED})
_UNSETTLED = frozenset({OrderStatus.RECEIVED, OrderStatus.SUBMITTED, OrderStatus.UNKNOWN, OrderStatus.PRESUMED_ABSENT})


_PLACED: Responses = {
    **problems(*BODY_ERRORS, 404, 409),
    201: {
        "model": OrderView,
        "description": "The venue has it: `status` says pending, filled, partially_filled or cancelled.",
    },
    202: {
        "model": OrderView,
        "description": "The venue's answer was lost: `status` is unknown until its log tells. Ask for the order "
        "again; never send it under another id.",
    },
    422: {
        **problems(422)[422],
        "description": "The request is not valid, or the order was denied by the broker's limits or rejected by the "
        "venue: then `reason` says why and `order` is the order. Nothing was traded.",
    },
}
_PLACING: dict[str, Any] = {"status_code": 201, "responses": _PLACED, "response_class": JSONResponse}


async def _refuse_while_draining(api: Api) -> None:
    if api.drain.is_set():
        raise DrainingError


async def _refuse_before_ready(api: Api, account: Account) -> None:
    # Without prices yet, the checks would deny the order, and a denial is final for its id. 503 may be tried again.
    if not api.ready.is_set():
        faults = (item.reason for item in account.conditions() if not item.ok and not item.advisory)
        raise NotReadyError(next(faults, "Starting"))


NotDraining = Depends(_refuse_while_draining)
Ready = Depends(_refuse_before_ready)


@dataclass(frozen=True, slots=True)
class OrderCaller:
    """The caller of a route that places an order."""

    api: ApiContext
    account: AccountApi
    client: ApiClient
    idempotency_key: str | None
    traceparent: str | None

    def origin(self, in_body: str | None = None) -> dict[str, Any]:
        """Client, id and trace of the order; raises Problem if the body's id differs from the header's."""
        in_header = self.idempotency_key
        if in_body is not None and in_header is not None and in_body != in_header:
            message = "differs from the Idempotency-Key header; send one of the two, or the same"
            raise invalid("client_order_id", message, detail="The request has two different ids.")
        name = in_body or in_header or self.api.new_client_order_id()
        return {"client": self.client.id, "client_order_id": name, "traceparent": self.traceparent}

    async def order(self, body: OrderBody) -> OrderRequest:
        """The order that a body asks for; one of a trade has what the trade says.

        Raises:
            Problem: it is of a trade that another client opened.
            NotReadyError: the process was never ready, and the order is no exit, which alone needs no prices.
        """
        order = body.request(account=self.account.id, **self.origin(body.client_order_id))
        trade = self.account.orders.trade(order.trade_id) if order.trade_id is not None else None
        # Anybody may protect a trade that no client opened.
        if trade is not None and trade.owner.client != EXTERNAL:
            check_opener(trade.owner.client, self.client)
        order = await self.account.orders.trades.complete(order, body.given)
        if not self.api.ready.is_set() and not self.account.orders.is_exit(order):
            await _refuse_before_ready(self.api, self.account)
        return order

    async def answer(self, placing: Coroutine[Any, Any, Placed]) -> Response:
        """201 with an order that the venue has, 202 with an unsettled one; raises Problem 422 for a refusal."""
        placed = await self.api.in_flight.run(placing)
        order, shown = placed.order, order_view(placed.order)
        headers = {"Location": f"/v1/orders/{order.id}", "Idempotent-Replayed": str(placed.replayed).lower()}
        if order.status in _REFUSED:
            by = "venue" if order.status is OrderStatus.REJECTED else "broker"
            detail = f"The {by} refused the order: {order.message or order.reason}. Nothing was traded."
            name, content = f"order-{order.status}", shown.model_dump(mode="json")
            raise Problem(_INVALID, name, detail, headers=headers, reason=order.reason, order=content)
        if order.status in _UNSETTLED:
            return json_response(shown, HTTPStatus.ACCEPTED, {**headers, "Retry-After": "1"})
        return json_response(shown, HTTPStatus.CREATED, headers)


# Not the class itself: FastAPI would construct it in a thread, as it does with whatever is no coroutine.
async def _caller_of(
    api: Api, account: Account, client: Trader, idempotency_key: IdempotencyKey = None, traceparent: TraceParent = None
) -> OrderCaller:
    return OrderCaller(api, account, client, idempotency_key, traceparent)


Caller = Annotated[OrderCaller, Depends(_caller_of)]


async def place(body: OrderBody, caller: OrderCaller, *, received_s: float) -> Response:
    """The answer to a request that was received at `received_s` and asks for a new order."""
    caller.api.emit(OrderStage(stage="validate", duration_s=perf_counter() - received_s))
    return await caller.answer(caller.account.orders.place(await caller.order(body)))


@routes.post("/orders", summary="Place an order", dependencies=[NotDraining, OwnerTrades], **_PLACING)
async def place_order(body: OrderBody, request: Request, caller: Caller) -> Response:
    """Sends an order to the venue, once for its Idempotency-Key or client_order_id, and waits for its first result.

    Sending it again with the same id gives the same order; with another body it is a 409.
    """
    return await place(body, caller, received_s=request.state.received_s)


@routes.post(
    "/orders/test",
    response_model=TrialView,
    responses=problems(*BODY_ERRORS, 502),
    summary="Try an order without sending it",
    dependencies=[NotDraining, Ready],
)
async def try_order(body: OrderBody, api: Api, account: Account, client: Trader) -> Response:
    """Takes an order through every check up to the venue's socket. Nothing is sent, journaled or counted.

    The replica that is asked answers, whoever trades the account; it asks the venue for the price with its own token.
    A path of its own, not a parameter: a misspelt parameter would place the order.
    """
    name = api.new_client_order_id()
    order = body.request(client=client.id, client_order_id=name, account=account.id, traceparent=None)
    found = await account.orders.try_order(await account.orders.trades.complete(order, body.given))
    return json_response(trial_view(found, trades_account=account.orders.elsewhere() is None))


@routes.put(
    "/orders/{order_id}", summary="Replace a resting order", dependencies=[NotDraining, OwnerTrades], **_PLACING
)
async def replace_order(order_id: OrderId, body: OrderBody, caller: Caller) -> Response:
    """Cancels a resting order and places another in its stead, in one step of the venue's."""
    _check_owner(await _find(caller.account, order_id), caller.client)
    return await caller.answer(caller.account.orders.replace(order_id, await caller.order(body)))


@routes.get("/orders", response_model=OrderList, summary="Orders that are open", dependencies=[OwnerReads])
async def list_orders(
    *,
    account: Account,
    client: Reader,
    instrument: Annotated[InstrumentName | None, Query()] = None,
    owner: Annotated[str | None, Query(alias="client", max_length=64, description="Id of the API key.")] = None,
    client_order_id: Annotated[
        KnownOrderId | None, Query(description="Your own order of this id, open or not.")
    ] = None,
) -> Response:
    """Orders that rest, are on their way, or are unknown, the oldest first. `/v1/history/orders` has the others."""
    if owner is not None:
        account.orders.claim(owner)
    if client_order_id is not None:
        # Memory first, and only then the database: between the two an order moves from the one to the other.
        named = client.id, client_order_id
        found = account.orders.by_client_id(*named) or await account.archive.by_client_id(*named)
        orders = [found] if found is not None else []
    else:
        orders = account.orders.open_orders()
    shown = [
        order_view(order)
        for order in orders
        if instrument in {None, order.request.instrument} and owner in {None, order.request.client}
    ]
    return json_response(OrderList.model_construct(orders=shown))


@routes.get(
    "/orders/{order_id}",
    response_model=OrderView,
    responses=problems(404),
    summary="One order",
    dependencies=[OwnerReads],
)
async def get_order(order_id: OrderId, account: Account, _: Reader) -> Response:
    """An order as it stands, from memory or the history."""
    return json_response(order_view(await _find(account, order_id)))


@routes.delete(
    "/orders/{order_id}",
    response_model=OrderView,
    responses=problems(404, 409, 502),
    summary="Cancel an order",
    dependencies=[OwnerTrades],
)
async def cancel_order(order_id: OrderId, api: Api, account: Account, client: Trader) -> Response:
    """Cancels a resting order, or its rest. 409 if it has ended otherwise: `order` shows its end."""
    order = await _find(account, order_id)
    _check_owner(order, client)
    # Taken while draining and in every trading state: a caller must always be able to take an order back.
    if not order.status.is_final:
        order = await api.in_flight.run(account.orders.cancel(order_id))
    if order.status in _CANCELLED:
        return json_response(order_view(order))
    detail, shown = f"The order is {order.status} and was not cancelled.", order_view(order).model_dump(mode="json")
    raise Problem(HTTPStatus.CONFLICT, "not-cancelled", detail, reason=order.reason, order=shown)


@routes.put(
    "/orders/{order_id}/extensions",
    response_model=OrderView,
    responses=problems(*BODY_ERRORS, 404, 502),
    summary="Change an order's tag and comment",
    dependencies=[NotDraining, OwnerTrades],
)
async def change_order_extensions(
    order_id: OrderId, body: ExtensionsBody, api: Api, account: Account, client: Trader
) -> Response:
    """Sets tag and comment of a resting order at the venue; may be sent twice without harm."""
    order = await _find(account, order_id)
    _check_owner(order, client)
    texts = body.texts(order.request.tag, order.request.comment)
    return json_response(order_view(await api.in_flight.run(account.orders.change_extensions(order_id, **texts))))


@routes.post(
    "/positions/{instrument}/close", summary="Close a position", dependencies=[NotDraining, OwnerTrades], **_PLACING
)
async def close_position(
    instrument: Annotated[InstrumentName, Path()], caller: Caller, body: ClosePositionBody | None = None
) -> Response:
    """Closes all of a position, or some units of it. Answers with the order that does."""
    body = body or ClosePositionBody()
    # Without `Ready`, as it needs no price: closing is what a caller may want most while prices are missing.
    orders = caller.account.orders
    return await caller.answer(orders.close_position(instrument, body.side, body.units, **caller.origin()))


@routes.post("/trades/{trade_id}/close", summary="Close a trade", dependencies=[NotDraining, OwnerTrades], **_PLACING)
async def close_trade(
    trade_id: Annotated[VenueId, Path()], caller: Caller, body: CloseTradeBody | None = None
) -> Response:
    """Closes all of a trade, or some units of it. Answers with the order that does."""
    units = body.units if body else None
    return await caller.answer(caller.account.orders.close_trade(trade_id, units, **caller.origin()))


async def _find(account: AccountApi, order_id: str) -> Order:
    order = account.orders.order(order_id) or await account.archive.order(order_id)
    if order is None:
        # Before we own the account and have read the venue's log, not knowing an order says nothing about it.
        for item in account.conditions():
            if item.name in {"Ownership", "Venue"} and not item.ok:
                raise NotReadyError(item.reason)
        raise Problem(HTTPStatus.NOT_FOUND, "unknown-order", f"There is no order {order_id}.")
    return order


def check_opener(owner: str | None, client: ApiClient) -> None:
    """Raise Problem unless a client may change the orders of a trade that `owner` opened; None: it is not known."""
    if owner not in {None, client.id} and "admin" not in client.scopes:
        detail = f"The trade belongs to {owner!r}; only it or an admin may change it."
        raise Problem(HTTPStatus.FORBIDDEN, "not-owner", detail)


def _check_owner(order: Order, client: ApiClient) -> None:
    if order.request.client != client.id and "admin" not in client.scopes:
        detail = f"The order belongs to {order.request.client!r}; only it or an admin may change it."
        raise Problem(HTTPStatus.FORBIDDEN, "not-owner", detail)
