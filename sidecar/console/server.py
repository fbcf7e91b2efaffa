"""The console's HTTP application: a page, its status and its event stream. Everything is read-only."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from sidecar.console.bundle.bundle import zipped
from sidecar.console.event_stream import TooManyWatchersError, Watchers, stream
from sidecar.console.guard import add_headers, guard
from sidecar.ingest.tail import TailEvent

STATIC = Path(__file__).with_name("static")
PAGES = {
    "/": ("index.html", "text/html"),
    "/console.css": ("console.css", "text/css"),
    "/console.js": ("console.js", "text/javascript"),
    "/chart.js": ("chart.js", "text/javascript"),
    "/tail.js": ("tail.js", "text/javascript"),
    "/words.js": ("words.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where the console's answers come from."""

    status: Callable[[], dict[str, Any]]
    tail: Callable[[], AsyncIterator[TailEvent]]
    bundle: Callable[[], Awaitable[dict[str, str]]]
    """Name and text of each file of the diagnostics bundle."""


def console_application(sources: Sources, watchers: Watchers, allowed_hosts: frozenset[str]) -> web.Application:
    """The application of `console.address`. Close `watchers` before its server is stopped."""
    application = web.Application(middlewares=[guard(allowed_hosts)])
    application.on_response_prepare.append(add_headers)
    for path, (name, kind) in PAGES.items():
        application.router.add_get(path, _page(STATIC / name, kind))
    application.router.add_get("/api/status", _status(sources))
    application.router.add_get("/api/events", _events(sources, watchers), allow_head=False)
    application.router.add_get("/api/diagnostics", _diagnostics(sources), allow_head=False)
    return application


def _page(path: Path, kind: str) -> Callable[[web.Request], Any]:
    text = path.read_text(encoding="utf-8")

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=text, content_type=kind, charset="utf-8")

    return answer


def _status(sources: Sources) -> Callable[[web.Request], Any]:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response(sources.status())

    return answer


def _events(sources: Sources, watchers: Watchers) -> Callable[[web.Request], Any]:
    async def answer(request: web.Request) -> web.StreamResponse:
        wants_status = request.query.get("status", "1") != "0"
        tail = sources.tail if request.query.get("tail", "1") != "0" else None
        try:
            return await stream(request, watchers, sources.status() if wants_status else None, tail)
        except TooManyWatchersError as error:
            text = "too many pages and tails are open (console.max_watchers)\n"
            raise web.HTTPServiceUnavailable(text=text, headers={"Retry-After": "5"}) from error

    return answer


def _diagnostics(sources: Sources) -> Callable[[web.Request], Any]:
    async def answer(_: web.Request) -> web.Response:
        headers = {"Content-Disposition": 'attachment; filename="sidecar-diagnostics.zip"'}
        body = zipped(await sources.bundle())
        return web.Response(body=body, content_type="application/zip", headers=headers)

    return answer
