"""HTTP application of the console: page, status, event stream and diagnostics, all of them read-only.

It answers known host names only, and sets the security headers of every answer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from aiohttp import web
from aiohttp.typedefs import Middleware

from sidecar.console.bundle import zipped
from sidecar.console.event_stream import TooManyWatchersError, Watchers, stream
from sidecar.ingest.tail import TailEvent

if TYPE_CHECKING:
    from sidecar.console.document import StatusDocument

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

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

# One file each of script and style, from here; no inline script, no frame, no form, no other host.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    # A browser may not guess a type, and run an answer as a script.
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # No other site may embed an answer, or keep a handle on our window (side channels such as Spectre).
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    # The status names hosts, accounts and paths: nothing of it belongs on the disk of a laptop.
    "Cache-Control": "no-store",
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
        return web.Response(body=source.status().encode(), content_type="application/json", charset="utf-8")

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


def guard(allowed_hosts: frozenset[str]) -> Middleware:
    """Build a middleware that answers only requests for a known host name.

    A page of another site may resolve its own name to our address (DNS rebinding); its requests then carry that
    name in Host. https://owasp.org/www-community/attacks/DNS_Rebinding
    """

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if host_name(request.host) not in allowed_hosts:
            text = f"host {host_name(request.host)[:64]!r} is not among console.allowed_hosts\n"
            # 421 and not 403: the request reached a server that is not the one of this name (RFC 9110, 15.5.20).
            raise web.HTTPMisdirectedRequest(text=text, headers=HEADERS)
        return await handler(request)

    return check


async def add_headers(_: web.Request, response: web.StreamResponse) -> None:
    """Set the headers of an answer; a handler of aiohttp's `on_response_prepare`."""
    response.headers.update(HEADERS)


def host_name(host: str) -> str:
    """Return the name in a Host header, in lower case and without its port; brackets of IPv6 stay."""
    if host.startswith("["):
        return host.partition("]")[0].lower() + "]"
    return host.partition(":")[0].lower()
