"""Errors of the parts behind the API, as problems."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import Request
from fastapi.responses import Response

from broker.api.forwarding.standby import NOT_OWNER, refusal
from broker.api.http.problem import Problem, response_of
from broker.history.archive import CursorError
from broker.history.database import DatabaseUnavailableError, ExportsBusyError
from broker.orders.errors import (
    ClientIdConflictError,
    DrainingError,
    NotReadyError,
    OrderServiceError,
    UnknownOrderError,
    UnknownPositionError,
)
from broker.orders.store.journal import OrderJournalError
from broker.venue.errors import NotAuthorizedError, RateLimitedError, VenueError

KINDS = (OrderServiceError, VenueError, OrderJournalError, DatabaseUnavailableError, ExportsBusyError, CursorError)


async def answer_part(request: Request, error: Exception) -> Response:
    """Handler of every error in `KINDS`."""
    surface = request.state.surface
    if isinstance(error, NotReadyError) and error.reason == NOT_OWNER and not surface.forwards:
        return response_of(refusal(surface, surface.desk.elsewhere() or "", error.retry_after_s))
    return response_of(problem_of(error))


def problem_of(error: Exception) -> Problem:
    """The problem that tells a caller about `error`."""
    if isinstance(error, OrderServiceError):
        return _of_desk(error)
    if isinstance(error, VenueError):
        return _of_venue(error)
    if isinstance(error, CursorError):
        return Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "invalid-request",
            str(error),
            errors=[{"field": "cursor", "message": str(error)}],
        )
    if isinstance(error, ExportsBusyError):
        detail = f"{error}; one of them has to end first."
        return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "too-many-exports", detail, retry_after_s=5)
    if isinstance(error, DatabaseUnavailableError):
        detail = "The history database is away; orders are taken as usual and will be in it later."
        return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "history-unavailable", detail, retry_after_s=5)
    detail = "The order journal cannot be written, so no order is taken."
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "not-ready", detail, reason="JournalFailed", retry_after_s=5)


def _of_desk(error: OrderServiceError) -> Problem:
    if isinstance(error, ClientIdConflictError):
        return Problem(HTTPStatus.CONFLICT, "client-order-id-conflict", str(error))
    if isinstance(error, DrainingError):
        detail = "The broker is ending and takes no new orders. Nothing was sent. Try again at its successor."
        return Problem(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "draining",
            detail,
            reason=error.reason,
            retry_after_s=error.retry_after_s,
        )
    if isinstance(error, NotReadyError):
        detail = f"The broker cannot trade now ({error.reason}). Nothing was sent. Try again."
        return Problem(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "not-ready",
            detail,
            reason=error.reason,
            retry_after_s=error.retry_after_s,
        )
    name = "unknown-order" if isinstance(error, UnknownOrderError) else "unknown-position"
    status = HTTPStatus.NOT_FOUND if isinstance(error, (UnknownOrderError, UnknownPositionError)) else None
    return Problem(status or HTTPStatus.SERVICE_UNAVAILABLE, name if status else "not-ready", str(error))


def _of_venue(error: VenueError) -> Problem:
    if isinstance(error, NotAuthorizedError):
        detail = "The venue refuses the broker's token; a new one is awaited."
        return Problem(
            HTTPStatus.SERVICE_UNAVAILABLE, "not-ready", detail, reason="VenueUnauthorized", retry_after_s=2
        )
    if isinstance(error, RateLimitedError):
        detail = "The venue's rate limit is used up."
        return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "venue-busy", detail, retry_after_s=1)
    words = f"The venue could not be asked ({error.error_type})."
    return Problem(HTTPStatus.BAD_GATEWAY, "venue-unavailable", words, reason=error.error_type, retry_after_s=1)
