"""Routes for operators: the trading state, and the comparison with the venue."""

from __future__ import annotations

from fastapi import APIRouter, Response

from broker.api.auth.access import Admin, Reader
from broker.api.context import Parts
from broker.api.forwarding.standby import OwnerAdministers, OwnerReads
from broker.api.schemas.json_response import COMMON, answer, problems
from broker.api.schemas.requests import StateBody
from broker.api.schemas.responses import ConditionList, ConditionView, MismatchView, ReconcileView, StateView
from broker.orders.model.trading_state import TradingState

routes = APIRouter(prefix="/v1/admin", tags=["admin"])


@routes.get(
    "/state", response_model=StateView, responses=COMMON, summary="What may be traded", dependencies=[OwnerReads]
)
async def get_state(parts: Parts, _: Reader) -> Response:
    """`active` trades, `reducing` takes only what makes a position smaller, `halted` takes cancels only."""
    return answer(StateView.model_construct(state=str(parts.desk.state)))


@routes.put(
    "/state",
    response_model=StateView,
    responses={**COMMON, **problems(409)},
    summary="Halt, reduce or resume",
    dependencies=[OwnerAdministers],
)
async def put_state(body: StateBody, parts: Parts, client: Admin) -> Response:
    """Takes effect at once and outlives a restart. Says who and why in the log."""
    parts.desk.set_state(TradingState(body.state), client.id, body.reason)
    return answer(StateView.model_construct(state=str(parts.desk.state)))


@routes.post(
    "/reconcile",
    response_model=ReconcileView,
    responses={**COMMON, **problems(409, 502)},
    summary="Compare with the venue",
    dependencies=[OwnerAdministers],
)
async def reconcile(parts: Parts, _: Admin) -> Response:
    """Compares orders, trades, positions and balance with the venue now; what it finds there is adopted."""
    mismatches = await parts.in_flight.run(parts.desk.reconcile)
    found = [
        MismatchView.model_construct(kind=item.kind, subject=item.subject, ours=item.ours, theirs=item.theirs)
        for item in mismatches
    ]
    return answer(ReconcileView.model_construct(mismatches=found))


@routes.get("/conditions", response_model=ConditionList, responses=COMMON, summary="The broker's own health")
async def list_conditions(parts: Parts, _: Reader) -> Response:
    """Each named condition, with its reason and since when. Probes are the sidecar's."""
    found = [
        ConditionView.model_construct(
            name=item.name,
            ok=item.ok,
            reason=item.reason,
            message=item.message,
            since=item.since,
            advisory=item.advisory,
        )
        for item in parts.conditions()
    ]
    return answer(ConditionList.model_construct(conditions=found))
