"""Guard of the console: answers known host names only, and sets the security headers of every answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.typedefs import Middleware

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

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
