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
from broker.api.schemas.requests import FIELDS
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

_SHOWN = 200


@dataclass(frozen=True, slots=True)
class _Row:
    """The problem of an exception; `detail` and `reason` are formatted with it."""

    status: HTTPStatus
    name: str
    detail: str
    retry_after_s: float | None = None
    reason: str | None = None


_UNAVAILABLE = HTTPStatus.SERVICE_UNAVAILABLE
_PROBLEMS: Mapping[type[Exception], _Row] = {
    ClientIdConflictError: _Row(HTTPStatus.CONFLICT, "client-order-id-conflict", "{error}"),
    UnknownOrderError: _Row(HTTPStatus.NOT_FOUND, "unknown-order", "{error}"),
    UnknownPositionError: _Row(HTTPStatus.NOT_FOUND, "unknown-position", "{error}"),
    DrainingError: _Row(
        _UNAVAILABLE,
        "draining",
        "The broker is ending and takes no new orders. Nothing was sent. Try again at its successor.",
        reason="{error.reason}",
    ),
    NotReadyError: _Row(
        _UNAVAILABLE,
        "not-ready",
        "The broker cannot trade now ({error.reason}). Nothing was sent. Try again.",
        reason="{error.reason}",
    ),
    OrderServiceError: _Row(_UNAVAILABLE, "not-ready", "{error}"),
    OrderJournalError: _Row(
        _UNAVAILABLE, "not-ready", "The order journal cannot be written, so no order is taken.", 5, "JournalFailed"
    ),
    NotAuthorizedError: _Row(
        _UNAVAILABLE,
        "not-ready",
        "The venue refuses the broker's token; a new one is awaited.",
        2,
        "VenueUnauthorized",
    ),
    RateLimitedError: _Row(_UNAVAILABLE, "venue-busy", "The venue's rate limit is used up.", 1),
    VenueError: _Row(
        HTTPStatus.BAD_GATEWAY,
        "venue-unavailable",
        "The venue could not be asked ({error.error_type}).",
        1,
        "{error.error_type}",
    ),
    DatabaseUnavailableError: _Row(
        _UNAVAILABLE,
        "history-unavailable",
        "The history database is away; orders are taken as usual and will be in it later.",
        5,
    ),
    ExportsBusyError: _Row(_UNAVAILABLE, "too-many-exports", "{error}; one of them has to end first.", 5),
}
"""The row of an exception's own class, else that of its nearest base."""
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
    for kind in (*_PROBLEMS, CursorError, Problem, OwnerAnswered, RequestValidationError, HTTPException):
        application.add_exception_handler(kind, _answer)


async def _answer(request: Request, error: Exception) -> Response:
    if isinstance(error, OwnerAnswered):
        return error.response
    if isinstance(error, NotReadyError) and error.reason == NOT_OWNER:
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
            return _of_validation(error)
        case HTTPException():
            status = HTTPStatus(error.status_code)
            name, detail = _HTTP_ERRORS.get(status, (status.phrase.lower().replace(" ", "-"), None))
            return Problem(status, name, detail or str(error.detail), headers=error.headers)
        case CursorError():
            return invalid("cursor", str(error), detail=str(error))
    row = next(_PROBLEMS[kind] for kind in type(error).__mro__ if kind in _PROBLEMS)
    retry_after_s = error.retry_after_s if isinstance(error, NotReadyError) else row.retry_after_s
    reason = row.reason.format(error=error) if row.reason else None
    return Problem(row.status, row.name, row.detail.format(error=error), retry_after_s=retry_after_s, reason=reason)


def _of_validation(error: RequestValidationError) -> Problem:
    faults = [fault for item in error.errors() for fault in _field_faults(item)]
    names = ", ".join(dict.fromkeys(fault["field"] for fault in faults))
    detail = f"The request is not valid: {names[:_SHOWN]}."
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-request", detail, errors=faults)


def _field_faults(item: Mapping[str, Any]) -> list[dict[str, str]]:
    place = item["loc"]
    if item["type"] == FIELDS:
        return [{"field": _path([*place, field]), "message": words} for field, words in item["ctx"]["faults"]]
    if item["type"] == "json_invalid":
        message = f"is not JSON: {item.get('ctx', {}).get('error', 'cannot be read')}"
        return [{"field": _path(place), "message": message}]
    return [{"field": _path(place), "message": str(item["msg"])}]


def _path(place: Sequence[Any]) -> str:
    parts = [str(part) for part in place if part not in {"body", "query", "path", "header"}]
    return ".".join(parts)[:_SHOWN] or str(place[0] if place else "body")
