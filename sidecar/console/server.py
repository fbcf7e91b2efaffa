"""HTTP application of the console: page, status, event stream and diagnostics, all of them read-only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

from aiohttp import web

from sidecar.console.bundle import zipped
from sidecar.console.document import StatusDocument, encode
from sidecar.console.event_stream import TooManyWatchersError, Watchers, stream
from sidecar.console.guard import Handler, add_headers, guard
from sidecar.ingest.tail import TailEvent

STATIC = Path(__file__).with_name("static")
# Each file by name. A static route would serve whatever else lies in the folder.
PAGES = {
    "/": ("index.html", "text/html"),
    "/console.css": ("console.css", "text/css"),
    "/console.js": ("console.js", "text/javascript"),
    "/chart.js": ("chart.js", "text/javascript"),
    "/tail.js": ("tail.js", "text/javascript"),
    "/words.js": ("words.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}


class ConsoleSource(Protocol):
    """Process whose state the console shows."""

    def status(self) -> StatusDocument:
        """Build the status document of this moment."""

    def tail(self) -> AsyncIterator[TailEvent]:
        """Follow the producers' events from now on."""

    async def bundle(self) -> dict[str, str]:
        """Return name and text of each file of the diagnostics bundle."""


def console_application(source: ConsoleSource, watchers: Watchers, allowed_hosts: frozenset[str]) -> web.Application:
    """Build the application of `console.address`. Close `watchers` before its server is stopped."""

    async def status(_: web.Request) -> web.Response:
        return web.Response(body=encode(source.status()), content_type="application/json", charset="utf-8")

    async def events(request: web.Request) -> web.StreamResponse:
        first = source.status() if request.query.get("status", "1") != "0" else None
        tail = source.tail() if request.query.get("tail", "1") != "0" else None
        try:
            return await stream(request, watchers, first, tail)
        except TooManyWatchersError as error:
            text = "too many pages and tails are open (console.max_watchers)\n"
            raise web.HTTPServiceUnavailable(text=text, headers={"Retry-After": "5"}) from error

    async def diagnostics(_: web.Request) -> web.Response:
        headers = {"Content-Disposition": 'attachment; filename="sidecar-diagnostics.zip"'}
        body = zipped(await source.bundle())
        return web.Response(body=body, content_type="application/zip", headers=headers)

    application = web.Application(middlewares=[guard(allowed_hosts)])
    application.on_response_prepare.append(add_headers)
    for path, (name, kind) in PAGES.items():
        application.router.add_get(path, _page(STATIC / name, kind))
    application.router.add_get("/api/status", status)
    # No HEAD: aiohttp would run the handler for it, and a stream has no end.
    application.router.add_get("/api/events", events, allow_head=False)
    application.router.add_get("/api/diagnostics", diagnostics, allow_head=False)
    return application


def _page(path: Path, kind: str) -> Handler:
    # Read once, at the start: no request can name a path, and a page is served while the disk is full or gone.
    text = path.read_text(encoding="utf-8")

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(text=text, content_type=kind, charset="utf-8")

    return answer
