"""Routes that place, show, replace and cancel orders, and close positions and trades."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from time import perf_counter
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.responses import JSONResponse

from broker.api.auth.access import Reader, Trader
from broker.api.auth.keys import Client
from broker.api.context import Parts, Surface
from broker.api.forwarding.standby import OwnerReads, OwnerTrades
from broker.api.http.problem import Problem
from broker.api.schemas.json_response import COMMON, Responses, answer, problems
from broker.api.schemas.requests import (
    ClientOrderId,
    ClosePositionBody,
    CloseTradeBody,
    InstrumentName,
    OrderBody,
    VenueId,
)
from broker.api.schemas.responses import OrderList, OrderView, ProblemView, TrialView, order_view, trial_view
from broker.domain import Order, OrderStatus
from broker.events.events import OrderStage
from broker.orders.errors import DrainingError, NotReadyError
from broker.orders.idempotency import Placed

routes = APIRouter(prefix="/v1", tags=["orders"])

OrderId = Annotated[str, Path(pattern=r"^[0-9A-Za-z-]{1,40}$", description="The broker's id of the order.")]
TraceParent = Annotated[str | None, Header(description="W3C trace context of the caller.", max_length=200)]
IdempotencyKey = Annotated[
    ClientOrderId | None, Header(description="The same key is the same order, however often it is sent.")
]
_KNOWING = frozenset({"Ownership", "Venue"})
_REFUSED = frozenset({OrderStatus.DENIED, OrderStatus.REJECTED})
_UNSETTLED = frozenset(
    {OrderStatus.RECEIVED, OrderStatus.SUBMITTED, OrderStatus.UNKNOWN, OrderStatus.PRESUMED_ABSENT}
)


_PLACED: Responses = {
    **COMMON,
    **problems(404, 409, 413),
    201: {"model": OrderView, "description": "The venue has it: `status` says pending, filled or cancelled."},
    202: {
        "model": OrderView,
        "description": "The venue's answer was lost: `status` is unknown until its log tells. Ask for the order "
        "again; never send it under another id.",
    },
    422: {
        "model": ProblemView,
        "description": "The request is not valid, or the order was denied by the broker's limits or rejected by the "
        "venue: then `reason` says why and `order` is the order. Nothing was traded.",
    },
}


async def _not_draining(parts: Parts) -> None:
    if parts.drain.is_set():
        raise DrainingError


async def _ready(parts: Parts) -> None:
    """A denial is final for its id; what is only too early is 503, and may come again."""
    if not parts.ready.is_set():
        faults = (item.reason for item in parts.conditions() if not item.ok and not item.advisory)
        raise NotReadyError(next(faults, "Starting"))


NotDraining = Depends(_not_draining)
Ready = Depends(_ready)


@routes.post(
    "/orders",
    status_code=201,
    responses=_PLACED,
    summary="Place an order",
    dependencies=[NotDraining, OwnerTrades, Ready],
    response_class=JSONResponse,
)
async def place_order(
    *,
    body: OrderBody,
    request: Request,
    parts: Parts,
    client: Trader,
    idempotency_key: IdempotencyKey = None,
    traceparent: TraceParent = None,
) -> Response:
    """Sends an order to the venue, once for its Idempotency-Key or client_order_id, and waits for its first result.

    Sending it again with the same id gives the same order; with another body it is a 409.
    """
    parts.emit(OrderStage(stage="validate", duration_s=perf_counter() - request.state.received_s))
    return await _write(
        parts,
        client_order_id(body.client_order_id, idempotency_key, parts),
        lambda name: parts.desk.place(_request(body, parts, client, name, traceparent)),
    )


@routes.post(
    "/orders/test",
    response_model=TrialView,
    responses={**COMMON, **problems(413, 502)},
    summary="Try an order without sending it",
    dependencies=[NotDraining, Ready],
)
async def try_order(body: OrderBody, parts: Parts, client: Trader) -> Response:
    """Takes an order through every check up to the venue's socket. Nothing is sent, journaled or counted.

    The replica that is asked answers, whoever trades the account; it asks the venue for the price with its own token.
    A path of its own, not a parameter: a misspelt parameter would place the order.
    """
    found = await parts.desk.try_order(_request(body, parts, client, parts.new_id(), None))
    return answer(trial_view(found, trades_account=parts.desk.elsewhere() is None))


@routes.put(
    "/orders/{order_id}",
    status_code=201,
    responses=_PLACED,
    summary="Replace a resting order",
    dependencies=[NotDraining, OwnerTrades, Ready],
    response_class=JSONResponse,
)
async def replace_order(
    *,
    order_id: OrderId,
    body: OrderBody,
    parts: Parts,
    client: Trader,
    idempotency_key: IdempotencyKey = None,
    traceparent: TraceParent = None,
) -> Response:
    """Cancels a resting order and places another in its stead, in one step of the venue's."""
    _must_own(await _find(parts, order_id), client)
    return await _write(
        parts,
        client_order_id(body.client_order_id, idempotency_key, parts),
        lambda name: parts.desk.replace(order_id, _request(body, parts, client, name, traceparent)),
    )


@routes.get(
    "/orders",
    response_model=OrderList,
    responses=COMMON,
    summary="Orders that are open",
    dependencies=[OwnerReads],
)
async def list_orders(
    *,
    parts: Parts,
    client: Reader,
    instrument: Annotated[InstrumentName | None, Query()] = None,
    owner: Annotated[str | None, Query(alias="client", max_length=64, description="Id of the API key.")] = None,
    client_order_id: Annotated[
        ClientOrderId | None, Query(description="Your own order of this id, open or not.")
    ] = None,
) -> Response:
    """Orders that rest, are on their way, or are unknown, the oldest first. `/v1/history/orders` has the others."""
    if client_order_id is not None:
        known = parts.desk.by_client_id(client.id, client_order_id)
        found = known or await parts.archive.by_client_id(client.id, client_order_id)
        orders = [found] if found is not None else []
    else:
        orders = parts.desk.open_orders()
    wanted = [
        order_view(order)
        for order in orders
        if instrument in {None, order.request.instrument} and owner in {None, order.request.client}
    ]
    return answer(OrderList.model_construct(orders=wanted))


@routes.get(
    "/orders/{order_id}",
    response_model=OrderView,
    responses={**COMMON, **problems(404)},
    summary="One order",
    dependencies=[OwnerReads],
)
async def get_order(order_id: OrderId, parts: Parts, _: Reader) -> Response:
    """An order as it stands, from memory or the history."""
    return answer(order_view(await _find(parts, order_id)))


@routes.delete(
    "/orders/{order_id}",
    response_model=OrderView,
    responses={**COMMON, **problems(404, 409, 502)},
    summary="Cancel an order",
    dependencies=[OwnerTrades],
)
async def cancel_order(order_id: OrderId, parts: Parts, client: Trader) -> Response:
    """Cancels a resting order. 409 where it has ended otherwise: `order` says how."""
    order = await _find(parts, order_id)
    _must_own(order, client)
    if not order.status.is_final:
        order = await parts.in_flight.run(lambda: parts.desk.cancel(order_id))
    if order.status is OrderStatus.CANCELLED:
        return answer(order_view(order))
    detail = f"The order is {order.status} and was not cancelled."
    raise Problem(HTTPStatus.CONFLICT, "not-cancelled", detail, reason=order.reason, order=_dump(order))


@routes.post(
    "/positions/{instrument}/close",
    status_code=201,
    responses=_PLACED,
    summary="Close a position",
    dependencies=[NotDraining, OwnerTrades],
    response_class=JSONResponse,
)
async def close_position(
    *,
    instrument: Annotated[InstrumentName, Path()],
    parts: Parts,
    client: Trader,
    body: ClosePositionBody | None = None,
    idempotency_key: IdempotencyKey = None,
    traceparent: TraceParent = None,
) -> Response:
    """Closes all of a position, or some units of it. Answers with the order that does."""
    wanted = body or ClosePositionBody()
    return await _write(
        parts,
        idempotency_key or parts.new_id(),
        lambda name: parts.desk.close_position(
            instrument, wanted.side, wanted.units, client=client.id, client_order_id=name, traceparent=traceparent
        ),
    )


@routes.post(
    "/trades/{trade_id}/close",
    status_code=201,
    responses=_PLACED,
    summary="Close a trade",
    dependencies=[NotDraining, OwnerTrades],
    response_class=JSONResponse,
)
async def close_trade(
    *,
    trade_id: Annotated[VenueId, Path()],
    parts: Parts,
    client: Trader,
    body: CloseTradeBody | None = None,
    idempotency_key: IdempotencyKey = None,
    traceparent: TraceParent = None,
) -> Response:
    """Closes all of a trade, or some units of it. Answers with the order that does."""
    units = body.units if body is not None else None
    return await _write(
        parts,
        idempotency_key or parts.new_id(),
        lambda name: parts.desk.close_trade(
            trade_id, units, client=client.id, client_order_id=name, traceparent=traceparent
        ),
    )


def client_order_id(in_body: str | None, in_header: str | None, parts: Surface) -> str:
    """The caller's id, or a new one.

    Raises:
        Problem: body and header name different ones.
    """
    if in_body is not None and in_header is not None and in_body != in_header:
        message = "differs from the Idempotency-Key header; send one of the two, or the same"
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "invalid-request",
            "The request has two different ids.",
            errors=[{"field": "client_order_id", "message": message}],
        )
    return in_body or in_header or parts.new_id()


async def _write(parts: Surface, name: str, send: Callable[[str], Awaitable[Placed]]) -> Response:
    return answer_placed(await parts.in_flight.run(lambda: send(name)))


def answer_placed(placed: Placed) -> Response:
    """201 with an order that the venue has, 202 with one whose outcome is not known.

    Raises:
        Problem: 422 with one that was denied or rejected.
    """
    order = placed.order
    headers = {"Location": f"/v1/orders/{order.id}", "Idempotent-Replayed": str(placed.replayed).lower()}
    if order.status in _REFUSED:
        who = "venue" if order.status is OrderStatus.REJECTED else "broker"
        detail = f"The {who} refused the order: {order.message or order.reason}. Nothing was traded."
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"order-{order.status}",
            detail,
            headers=headers,
            reason=order.reason,
            order=_dump(order),
        )
    if order.status in _UNSETTLED:
        return answer(order_view(order), HTTPStatus.ACCEPTED, {**headers, "Retry-After": "1"})
    return answer(order_view(order), HTTPStatus.CREATED, headers)


def _request(body: OrderBody, parts: Surface, client: Client, name: str, traceparent: str | None) -> Any:
    return body.request(client=client.id, client_order_id=name, account=parts.account, traceparent=traceparent)


async def _find(parts: Surface, order_id: str) -> Order:
    order = parts.desk.order(order_id) or await parts.archive.order(order_id)
    if order is None:
        _must_know(parts)
        raise Problem(HTTPStatus.NOT_FOUND, "unknown-order", f"There is no order {order_id}.")
    return order


def _must_know(parts: Surface) -> None:
    """Before the account is ours and the venue's log is read, not knowing an order says nothing of it."""
    for item in parts.conditions():
        if item.name in _KNOWING and not item.ok:
            raise NotReadyError(item.reason)


def _must_own(order: Order, client: Client) -> None:
    if order.request.client != client.id and "admin" not in client.scopes:
        detail = f"The order belongs to {order.request.client!r}; only it or an admin may change it."
        raise Problem(HTTPStatus.FORBIDDEN, "not-owner", detail)


def _dump(order: Order) -> dict[str, Any]:
    return order_view(order).model_dump(mode="json")
