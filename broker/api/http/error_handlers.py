"""Exceptions of the layers behind the API, and of the framework, as problems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from broker.api.forwarding.standby import NOT_OWNER, OwnerAnswered, refusal
from broker.api.http.problem import Problem, invalid
from broker.api.schemas.requests import FIELDS_DIFFER
from broker.history.archive import CursorError
from broker.history.database import DatabaseUnavailableError, ExportsBusyError
from broker.orders import errors
from broker.orders.store.journal import OrderJournalError
from broker.venue.errors import MarketDataBusyError, NotAuthorizedError, RateLimitedError, VenueError

_SHOWN = 200


@dataclass(frozen=True, slots=True)
class _Row:
    """The problem of an exception; `detail` and `reason` are formatted with it."""

    name: str
    detail: str = "{error}"
    retry_after_s: float | None = None
    reason: str | None = None
    status: HTTPStatus = HTTPStatus.SERVICE_UNAVAILABLE


_DRAINING = "The broker is ending and takes no new orders. Nothing was sent. Try again at its successor."
_NOT_READY = "The broker cannot trade now ({error.reason}). Nothing was sent. Try again."
_NO_JOURNAL = "The order journal cannot be written, so no order is taken."
_NO_TOKEN = "The venue refuses the broker's token; a new one is awaited."  # noqa: S105 - no secret
_NO_VENUE = "The venue could not be asked ({error.error_type})."
_NO_HISTORY = "The history database is away; orders are taken as usual and will be in it later."
_PROBLEMS: Mapping[type[Exception], _Row] = {
    errors.ClientIdConflictError: _Row("client-order-id-conflict", status=HTTPStatus.CONFLICT),
    errors.UnknownOrderError: _Row("unknown-order", status=HTTPStatus.NOT_FOUND),
    errors.UnknownPositionError: _Row("unknown-position", status=HTTPStatus.NOT_FOUND),
    errors.DrainingError: _Row("draining", _DRAINING, reason="{error.reason}"),
    errors.NotReadyError: _Row("not-ready", _NOT_READY, reason="{error.reason}"),
    errors.OrderServiceError: _Row("not-ready"),
    OrderJournalError: _Row("not-ready", _NO_JOURNAL, 5, "JournalFailed"),
    NotAuthorizedError: _Row("not-ready", _NO_TOKEN, 2, "VenueUnauthorized"),
    RateLimitedError: _Row("venue-busy", "The venue's rate limit is used up.", 1),
    MarketDataBusyError: _Row("venue-busy", "{error}; try again.", 1),
    VenueError: _Row("venue-unavailable", _NO_VENUE, 1, "{error.error_type}", HTTPStatus.BAD_GATEWAY),
    DatabaseUnavailableError: _Row("history-unavailable", _NO_HISTORY, 5),
    ExportsBusyError: _Row("too-many-exports", "{error}; one of them has to end first.", 5),
}
"""The row of an exception's own class, else that of its nearest base."""
KNOWN_ERRORS: tuple[type[Exception], ...] = (
    *_PROBLEMS,
    errors.ClientIdConflictError,
    errors.TradeMismatchError,
    CursorError,
    Problem,
    OwnerAnswered,
    RequestValidationError,
    HTTPException,
)
"""Exceptions that have an answer of their own."""
_HTTP_ERRORS = {
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ("too-large", None),
    HTTPStatus.NOT_FOUND: ("not-found", "There is nothing at this address; see /docs."),
    HTTPStatus.METHOD_NOT_ALLOWED: ("method-not-allowed", "This address does not take this method; see /docs."),
    HTTPStatus.BAD_REQUEST: ("bad-request", "The body cannot be read."),
}


def add_error_handlers(application: FastAPI) -> None:
    """Register a handler for every exception that a route may raise knowingly.

    The middleware answers any other exception with 500.
    """
    for kind in KNOWN_ERRORS:
        application.add_exception_handler(kind, answer)


async def answer(request: Request, error: Exception) -> Response:
    """The answer to a request that ended with one of KNOWN_ERRORS."""
    if isinstance(error, OwnerAnswered):
        return error.response
    if isinstance(error, errors.NotReadyError) and error.reason == NOT_OWNER:
        api, account = request.app.state.context, request.state.account
        if not api.forwards_writes:
            return refusal(api, account, account.orders.elsewhere() or "", error.retry_after_s).response()
    return problem_of(error).response()


def problem_of(error: Exception) -> Problem:
    """The problem that tells a caller about `error`; it repeats no value of the request and no secret."""
    match error:
        case Problem():
            return error
        case RequestValidationError():
            faults = [fault for item in error.errors() for fault in _field_faults(item)]
            names = ", ".join(dict.fromkeys(fault["field"] for fault in faults))
            detail = f"The request is not valid: {names[:_SHOWN]}."
            return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-request", detail, errors=faults)
        case HTTPException():
            status = HTTPStatus(error.status_code)
            name, words = _HTTP_ERRORS.get(status, (status.phrase.lower().replace(" ", "-"), None))
            return Problem(status, name, words or str(error.detail), headers=error.headers)
        case errors.TradeMismatchError():
            faults = [{"field": field, "message": message} for field, message in error.faults.items()]
            return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-request", f"{error}.", errors=faults)
        case CursorError():
            return invalid("cursor", str(error), detail=str(error))
    row = next(_PROBLEMS[kind] for kind in type(error).__mro__ if kind in _PROBLEMS)
    retry_after_s = error.retry_after_s if isinstance(error, errors.NotReadyError) else row.retry_after_s
    reason = row.reason.format(error=error) if row.reason else None
    used_for = getattr(error, "used_for", None)
    detail = row.detail.format(error=error)
    return Problem(row.status, row.name, detail, retry_after_s=retry_after_s, reason=reason, used_for=used_for)


def _field_faults(item: Mapping[str, Any]) -> list[dict[str, str]]:
    place, message = item["loc"], str(item["msg"])
    if item["type"] == FIELDS_DIFFER:
        return [{"field": _path([*place, field]), "message": words} for field, words in item["ctx"]["faults"]]
    if item["type"] == "json_invalid":
        message = f"is not JSON: {item.get('ctx', {}).get('error', 'cannot be read')}"
    return [{"field": _path(place), "message": message}]


def _path(place: Sequence[Any]) -> str:
    parts = [str(part) for part in place if part not in {"body", "query", "path", "header"}]
    return ".".join(parts)[:_SHOWN] or str(place[0] if place else "body")
