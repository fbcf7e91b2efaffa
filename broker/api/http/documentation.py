"""Description of the API: the OpenAPI document, and a page that shows it, from this host alone."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Response
from fastapi.encoders import jsonable_encoder
from fastapi.responses import FileResponse
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from broker.api.http.problem import Problem
from broker.api.schemas.events import EVENTS
from broker.api.schemas.responses import REFERENCE, ProblemView

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
    """FastAPI that describes the events of streams and errors, too, which no route has as a model."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document; made once."""
        if self.openapi_schema is None:
            document = super().openapi()
            models: list[type[BaseModel]] = [ProblemView, *EVENTS.values()]
            kinds: list[tuple[type[BaseModel], JsonSchemaMode]] = [(kind, "serialization") for kind in models]
            _, found = models_json_schema(kinds, ref_template=REFERENCE)
            schemas = document["components"]["schemas"]
            for name, described in found["$defs"].items():
                # As FastAPI does to those of routes: a default of null is left out, and they are sorted.
                schemas.setdefault(name, jsonable_encoder(described, exclude_none=True))
            document["components"]["schemas"] = dict(sorted(schemas.items()))
        whole: dict[str, Any] = super().openapi()
        return whole


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
