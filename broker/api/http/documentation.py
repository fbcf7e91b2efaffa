"""The page that describes the API, from this host alone."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse

from broker.api.http.problem import Problem

routes = APIRouter(include_in_schema=False)

FOLDER = Path(__file__).with_name("swagger_ui")
_KINDS = {
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


@routes.get("/docs")
async def page() -> Response:
    """The page."""
    return FileResponse(FOLDER / "page.html", media_type="text/html", headers={"Content-Security-Policy": _POLICY})


@routes.get("/docs/{name}")
async def asset(name: str) -> Response:
    """A file of the page."""
    if name not in _KINDS:
        raise Problem(HTTPStatus.NOT_FOUND, "not-found", "The page has no such file.")
    return FileResponse(FOLDER / name, media_type=_KINDS[name], headers={"Cache-Control": "public, max-age=3600"})
