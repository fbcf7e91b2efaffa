"""The OpenAPI document: FastAPI's, with the media type that errors really have, and what a body alone may be told."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI

from broker.api.http.problem import MEDIA_TYPE

_FIRST_ERROR = "400"
_OF_BODIES = (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


class Described(FastAPI):
    """FastAPI declares every model as `application/json`; ours of errors are `application/problem+json`."""

    def openapi(self) -> dict[str, Any]:
        """The document; made once."""
        if self.openapi_schema is None:
            document = super().openapi()
            for path in document["paths"].values():
                for operation in path.values():
                    if "requestBody" in operation:
                        _add_errors_of_bodies(operation["responses"])
                    _correct(operation["responses"])
        found: dict[str, Any] = super().openapi()
        return found


def _add_errors_of_bodies(responses: dict[str, Any]) -> None:
    """Any body may be unreadable or too large; the envelope says so before the route is asked."""
    content = responses[str(HTTPStatus.UNPROCESSABLE_ENTITY.value)]["content"]
    for status in _OF_BODIES:
        responses.setdefault(str(status.value), {"description": status.phrase, "content": content})


def _correct(responses: dict[str, Any]) -> None:
    for status, response in responses.items():
        content = response.get("content", {})
        if status >= _FIRST_ERROR and "application/json" in content:
            response["content"] = {MEDIA_TYPE: content["application/json"]}
