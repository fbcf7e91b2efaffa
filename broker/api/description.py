"""The OpenAPI document: FastAPI's, with the media type that errors really have."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from broker.api.problem import MEDIA_TYPE

_FIRST_ERROR = "400"


class Described(FastAPI):
    """FastAPI declares every model as `application/json`; ours of errors are `application/problem+json`."""

    def openapi(self) -> dict[str, Any]:
        """The document; made once."""
        if self.openapi_schema is None:
            document = super().openapi()
            for path in document["paths"].values():
                for operation in path.values():
                    _correct(operation["responses"])
        found: dict[str, Any] = super().openapi()
        return found


def _correct(responses: dict[str, Any]) -> None:
    for status, response in responses.items():
        content = response.get("content", {})
        if status >= _FIRST_ERROR and "application/json" in content:
            response["content"] = {MEDIA_TYPE: content["application/json"]}
