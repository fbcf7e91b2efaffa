"""Description of the API: the OpenAPI document, and a page that shows it, from this host alone."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from broker.api.http.problem import MEDIA_TYPE, Problem
from broker.api.schemas.events import EVENTS, REFERENCE

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


class DocumentedApi(FastAPI):
    """FastAPI that describes the events of streams, too, and errors as `application/problem+json`."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document; made once."""
        if self.openapi_schema is None:
            document = super().openapi()
            kinds: list[tuple[type[BaseModel], JsonSchemaMode]] = [(kind, "serialization") for kind in EVENTS.values()]
            _, events = models_json_schema(kinds, ref_template=REFERENCE)
            for name, described in events["$defs"].items():
                document["components"]["schemas"].setdefault(name, described)
            for path in document["paths"].values():
                for operation in path.values():
                    for status, response in operation["responses"].items():
                        content = response.get("content", {})
                        if status >= "400" and "application/json" in content:
                            response["content"] = {MEDIA_TYPE: content["application/json"]}
        found: dict[str, Any] = super().openapi()
        return found


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
