"""Errors of the order API as `application/problem+json` (RFC 9457)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from broker.api.schemas.requests import FIELDS
from broker.api.schemas.responses import TYPE_PREFIX

MEDIA_TYPE = "application/problem+json"
_SHOWN = 200


class Problem(Exception):  # noqa: N818 - the RFC's own noun
    """An answer that is an error; `extra` are further members of the object."""

    def __init__(
        self,
        status: HTTPStatus,
        name: str,
        detail: str,
        *,
        retry_after_s: float | None = None,
        headers: Mapping[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.name = name
        self.detail = detail
        self.headers = dict(headers or {})
        self.extra = {key: value for key, value in extra.items() if value is not None}
        if retry_after_s is not None:
            self.headers["Retry-After"] = str(max(1, math.ceil(retry_after_s)))


def body_of(problem: Problem) -> bytes:
    """The problem as JSON."""
    members = {
        "type": TYPE_PREFIX + problem.name,
        "title": problem.status.phrase,
        "status": int(problem.status),
        "detail": problem.detail,
        **problem.extra,
    }
    return json.dumps(members, ensure_ascii=False, default=str).encode(errors="replace")


def response_of(problem: Problem) -> Response:
    """The answer for a problem."""
    return Response(body_of(problem), status_code=problem.status, headers=problem.headers, media_type=MEDIA_TYPE)


async def answer_problem(_: Request, error: Exception) -> Response:
    """Handler of `Problem`."""
    assert isinstance(error, Problem)  # noqa: S101 - registered for it only
    return response_of(error)


async def answer_validation(_: Request, error: Exception) -> Response:
    """Handler of FastAPI's validation errors: each field by name, no value repeated."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it only
    faults = [fault for item in error.errors() for fault in _faults(item)]
    names = ", ".join(dict.fromkeys(fault["field"] for fault in faults))
    detail = f"The request is not valid: {names[:_SHOWN]}."
    return response_of(Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-request", detail, errors=faults))


def _faults(item: Mapping[str, Any]) -> list[dict[str, str]]:
    place = item["loc"]
    if item["type"] == FIELDS:
        return [{"field": _path([*place, field]), "message": words} for field, words in item["ctx"]["faults"]]
    return [{"field": _path(place), "message": _words(item)}]


def _path(place: Sequence[Any]) -> str:
    parts = [str(part) for part in place if part not in {"body", "query", "path", "header"}]
    return ".".join(parts)[:_SHOWN] or str(place[0] if place else "body")


def _words(item: Mapping[str, Any]) -> str:
    if item["type"] == "json_invalid":
        return f"is not JSON: {item.get('ctx', {}).get('error', 'cannot be read')}"
    return str(item["msg"])


_NAMES = {
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ("too-large", None),
    HTTPStatus.NOT_FOUND: ("not-found", "There is nothing at this address; see /docs."),
    HTTPStatus.METHOD_NOT_ALLOWED: ("method-not-allowed", "This address does not take this method; see /docs."),
    HTTPStatus.BAD_REQUEST: ("bad-request", "The body cannot be read."),
}


async def answer_http(_: Request, error: Exception) -> Response:
    """Handler of the framework's own HTTP errors."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it only
    status = HTTPStatus(error.status_code)
    name, detail = _NAMES.get(status, (status.phrase.lower().replace(" ", "-"), None))
    return response_of(Problem(status, name, detail or str(error.detail), headers=error.headers))
