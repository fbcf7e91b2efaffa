"""Answers of operations on several orders or positions: an outcome for each."""

from __future__ import annotations

from http import HTTPStatus
from typing import Literal

from fastapi.responses import Response
from pydantic import BaseModel, Field

from broker.api.schemas.responses import OrderView, Responses, json_response, order_view
from broker.orders.mass_actions import MassResult, Outcome


class OutcomeView(BaseModel):
    """The result for one order or position."""

    subject: str = Field(
        description="The broker's id of the order, the instrument of the position, or the field of the request.",
        examples=["EUR_USD"],
    )
    outcome: Literal["done", "ended", "refused", "unknown", "failed"] = Field(
        description="`done`: as asked. `ended`: it had ended otherwise, see `order`. `refused`: by the broker or the "
        "venue, `reason` says why. `unknown`: the venue's answer was lost, its log will tell. `failed`: the venue "
        "could not be asked; send the request again with the same key."
    )
    reason: str | None
    message: str | None
    order: OrderView | None = Field(description="The order that was cancelled, that closes the position, or was made.")


class OutcomeList(BaseModel):
    """Outcomes; those first that leave something to do."""

    complete: bool = Field(description="True if nothing is left to do: every outcome is `done` or `ended`.")
    results: list[OutcomeView]


class KillView(OutcomeList):
    """Outcomes of the kill switch: for each order that rested or was on its way, and for each position."""

    state: str = Field(examples=["halted"])


def outcomes_of(model: type[OutcomeList]) -> Responses:
    """The two answers of such an operation, for the OpenAPI document."""
    return {
        200: {"model": model, "description": "Nothing is left to do."},
        207: {
            "model": model,
            "description": "Something is left to do: `results` says what. The same request with the same key goes on.",
        },
    }


def outcome_view(found: Outcome) -> OutcomeView:
    """An outcome as callers see it."""
    order = order_view(found.order) if found.order is not None else None
    return OutcomeView.model_construct(
        subject=found.subject, outcome=found.outcome, reason=found.reason, message=found.message, order=order
    )


def outcomes_response(found: MassResult, *, state: str | None = None) -> Response:
    """200 if nothing is left to do, else 207."""
    # Not 200: a client that looks at the status alone must not take an open position for a closed one.
    status = HTTPStatus.OK if found.complete else HTTPStatus.MULTI_STATUS
    results = [outcome_view(item) for item in found.outcomes]
    if state is not None:
        shown: OutcomeList = KillView.model_construct(state=state, complete=found.complete, results=results)
    else:
        shown = OutcomeList.model_construct(complete=found.complete, results=results)
    return json_response(shown, status, {"Idempotent-Replayed": str(found.replayed).lower()})
