"""Routes for operators: the trading state, the comparison with the venue, and the broker's health."""

from __future__ import annotations

from fastapi import APIRouter, Response

from broker.api.auth.access import Admin, Reader
from broker.api.context import Account, Api
from broker.api.forwarding.standby import OwnerAdministers, OwnerReads
from broker.api.http.json_body import BodyRoute
from broker.api.schemas.requests import StateBody
from broker.api.schemas.responses import (
    BODY_ERRORS,
    COMMON_PROBLEMS,
    ConditionList,
    ConditionView,
    MismatchView,
    ReconcileView,
    StateView,
    json_response,
    problems,
    views,
)
from broker.orders.model.trading_state import TradingState

routes = APIRouter(prefix="/v1/admin", tags=["admin"], responses=COMMON_PROBLEMS, route_class=BodyRoute)


@routes.get("/state", response_model=StateView, summary="Trading state", dependencies=[OwnerReads])
async def get_state(account: Account, _: Reader) -> Response:
    """`active` trades, `reducing` takes only what makes a position smaller, `halted` takes cancels only."""
    return json_response(StateView.model_construct(state=str(account.orders.state)))


@routes.put(
    "/state",
    response_model=StateView,
    responses=problems(*BODY_ERRORS, 409),
    summary="Halt, reduce or resume",
    dependencies=[OwnerAdministers],
)
async def put_state(body: StateBody, account: Account, client: Admin) -> Response:
    """Takes effect at once and outlives a restart. The log names the client and the reason."""
    account.orders.set_state(TradingState(body.state), client.id, body.reason)
    return json_response(StateView.model_construct(state=str(account.orders.state)))


@routes.post(
    "/reconcile",
    response_model=ReconcileView,
    responses=problems(409, 502),
    summary="Compare with the venue",
    dependencies=[OwnerAdministers],
)
async def reconcile(api: Api, account: Account, _: Admin) -> Response:
    """Compares orders, trades, positions and balance with the venue now, and adopts what the venue has."""
    # In flight like an order: half a comparison adopted would be worse than none.
    mismatches = await api.in_flight.run(account.orders.reconcile())
    return json_response(ReconcileView.model_construct(mismatches=views(MismatchView, mismatches)))


@routes.get("/conditions", response_model=ConditionList, summary="The broker's own health")
async def list_conditions(account: Account, _: Reader) -> Response:
    """Each named condition, with its reason and since when. Probes are the sidecar's."""
    return json_response(ConditionList.model_construct(conditions=views(ConditionView, account.conditions())))
