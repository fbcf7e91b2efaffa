"""Answers whose bodies are views."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi.responses import Response
from pydantic import BaseModel

from broker.api.schemas.responses import ProblemView

Responses = dict[int | str, dict[str, Any]]


def answer(view: BaseModel, status: HTTPStatus = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> Response:
    """A view as JSON. It was made from our own types: nothing is validated again."""
    return Response(view.model_dump_json(), status, headers, media_type="application/json")


def problems(*statuses: int) -> Responses:
    """What OpenAPI says of error answers."""
    return {status: {"model": ProblemView} for status in statuses}


COMMON = problems(401, 403, 422, 429, 503, 504)
"""Errors that any operation may answer with."""
