"""Routes that cancel all orders, close all positions, and use the kill switch."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response
from fastapi.responses import JSONResponse

from broker.api.auth.access import Admin
from broker.api.context import Account, Api
from broker.api.forwarding.standby import OwnerAdministers, OwnerTrades
from broker.api.http.json_body import BodyRoute
from broker.api.http.problem import Problem, invalid
from broker.api.routes.orders import Caller, IdempotencyKey, NotDraining, OrderCaller, TraceParent
from broker.api.schemas.outcomes import KillView, OutcomeList, outcomes_of, outcomes_response
from broker.api.schemas.requests import CancelAllBody, CloseAllBody, KillBody
from broker.api.schemas.responses import BODY_ERRORS, COMMON_PROBLEMS, problems
from broker.orders.mass_actions import OrderFilter

routes = APIRouter(prefix="/v1", responses=COMMON_PROBLEMS, route_class=BodyRoute)


def _answers(model: type[OutcomeList]) -> dict[str, Any]:
    answers = {**problems(*BODY_ERRORS, 409), **outcomes_of(model)}
    return {"responses": answers, "response_class": JSONResponse, "status_code": 200}


@routes.post(
    "/orders/cancel", tags=["orders"], summary="Cancel all orders", dependencies=[OwnerTrades], **_answers(OutcomeList)
)
async def cancel_orders(caller: Caller, body: CancelAllBody | None = None) -> Response:
    """Cancels every open order of yours, those on their way included; with the scope `admin` those of all clients.

    Accepted in every trading state and while the broker drains. Take-profits and stops are orders, too: `keep_exits`
    leaves them. The same Idempotency-Key means the same orders.
    """
    body = body or CancelAllBody()
    mine, is_admin = caller.client.id, "admin" in caller.client.scopes
    if body.client not in {None, mine} and not is_admin:
        detail = f"Orders of {body.client!r}: only it or an admin may cancel them."
        raise Problem(HTTPStatus.FORBIDDEN, "not-owner", detail)
    owner = body.client if is_admin else mine
    wanted = OrderFilter(instrument=body.instrument, client=owner, keep_exits=body.keep_exits)
    given = caller.origin()
    cancelling = caller.account.orders.mass_actions.cancel_all(mine, given["client_order_id"], wanted)
    return outcomes_response(await caller.api.in_flight.run(cancelling))


@routes.post(
    "/positions/close",
    tags=["orders"],
    summary="Close all positions",
    dependencies=[NotDraining, OwnerTrades],
    **_answers(OutcomeList),
)
async def close_positions(caller: Caller, body: CloseAllBody | None = None) -> Response:
    """Closes every position, or that of one instrument, each by an order of its own; needs no price.

    The same Idempotency-Key means the same orders.
    """
    body, given = body or CloseAllBody(), caller.origin()
    names = given["client"], given["client_order_id"], body.instrument, given["traceparent"]
    closing = caller.account.orders.mass_actions.close_all(*names)
    return outcomes_response(await caller.api.in_flight.run(closing))


# An operator's key need not have the scope `trade`.
async def _administrator_of(
    api: Api, account: Account, client: Admin, idempotency_key: IdempotencyKey = None, traceparent: TraceParent = None
) -> OrderCaller:
    return OrderCaller(api, account, client, idempotency_key, traceparent)


@routes.post(
    "/admin/kill", tags=["admin"], summary="Kill switch", dependencies=[OwnerAdministers], **_answers(KillView)
)
async def kill(caller: Annotated[OrderCaller, Depends(_administrator_of)], body: KillBody) -> Response:
    """Halts trading, cancels every order that may open a position, and closes every position. Trading stays halted.

    Works in every trading state and without prices. Take-profits and stops end with their trades; if a position cannot
    be closed, its stop stays. `confirm` must be the account's id.
    """
    account = caller.account
    if body.confirm != account.id:
        raise invalid("confirm", f"must be the id of the account, {account.id}, which everything is closed on")
    given = caller.origin()
    killing = account.orders.mass_actions.kill(given["client"], given["client_order_id"], body.reason)
    found = await caller.api.in_flight.run(killing)
    return outcomes_response(found, state=str(account.orders.state))
