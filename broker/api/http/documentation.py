"""Description of the API: the OpenAPI document, and a page that shows it, from this host alone."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Response
from fastapi.responses import FileResponse

from broker.api.http.problem import MEDIA_TYPE, Problem

FOLDER = Path(__file__).with_name("swagger_ui")
routes = APIRouter(include_in_schema=False)
_MEDIA_TYPES = {
    "swagger-ui-bundle.js": "text/javascript",
    "start.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}
# Swagger UI sets styles of its own and draws its icons from data: addresses.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'"
)
_FIRST_ERROR = "400"
_ERRORS_OF_BODIES = (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


class DocumentedApi(FastAPI):
    """FastAPI with the errors that really occur: those of bodies, and as `application/problem+json`."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document; made once."""
        if self.openapi_schema is None:
            for path in super().openapi()["paths"].values():
                for operation in path.values():
                    if "requestBody" in operation:
                        _add_errors_of_bodies(operation["responses"])
                    _correct_media_type(operation["responses"])
        found: dict[str, Any] = super().openapi()
        return found


def _add_errors_of_bodies(responses: dict[str, Any]) -> None:
    # Any body may be unreadable or too large. No route declares it: the answer is given before a route is asked.
    content = responses[str(HTTPStatus.UNPROCESSABLE_ENTITY.value)]["content"]
    for status in _ERRORS_OF_BODIES:
        responses.setdefault(str(status.value), {"description": status.phrase, "content": content})


def _correct_media_type(responses: dict[str, Any]) -> None:
    # FastAPI declares every model as application/json.
    for status, response in responses.items():
        content = response.get("content", {})
        if status >= _FIRST_ERROR and "application/json" in content:
            response["content"] = {MEDIA_TYPE: content["application/json"]}


@routes.get("/docs")
async def page() -> Response:
    """The page."""
    return FileResponse(FOLDER / "page.html", media_type="text/html", headers={"Content-Security-Policy": _POLICY})


@routes.get("/docs/{name}")
async def asset(name: str) -> Response:
    """A file of the page."""
    if name not in _MEDIA_TYPES:
        raise Problem(HTTPStatus.NOT_FOUND, "not-found", "The page has no such file.")
    caching = {"Cache-Control": "public, max-age=3600"}
    return FileResponse(FOLDER / name, media_type=_MEDIA_TYPES[name], headers=caching)
