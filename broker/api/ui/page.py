"""Files of the page at /ui: positions, orders and fills, live, for people.

They have no secret and need no key. The page's script asks the API, with the key that its reader gives it:

- The script sends the key in `X-API-Key`, the event stream's request included: it reads that stream by `fetch`, as
  EventSource cannot send a header. A cookie would go along with requests that other sites cause, and a key in an
  address would stand in logs.
- The policy lets no script run but the files from here, no text become markup (Trusted Types), and nothing be sent to
  another host. So a hostile text of an order cannot read the key.
"""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path

from fastapi import APIRouter, Response

from broker.api.http.problem import Problem

FOLDER = Path(__file__).with_name("static")
MEDIA_TYPES = {
    "page.css": "text/css",
    "page.js": "text/javascript",
    "actions.js": "text/javascript",
    "api.js": "text/javascript",
    "book.js": "text/javascript",
    "tables.js": "text/javascript",
    "words.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    # No other site may embed the page, or keep a handle on its window: a click there could close a position.
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
routes = APIRouter(include_in_schema=False)


@routes.get("/ui")
async def page() -> Response:
    """The page."""
    return _file("page.html", "text/html")


@routes.get("/ui/{name}")
async def asset(name: str) -> Response:
    """A file of the page."""
    # By name: a request can reach no other file.
    if name not in MEDIA_TYPES:
        raise Problem(HTTPStatus.NOT_FOUND, "not-found", "The page has no such file.")
    return _file(name, MEDIA_TYPES[name])


def _file(name: str, media_type: str) -> Response:
    return Response((FOLDER / name).read_bytes(), media_type=media_type, headers=HEADERS)
