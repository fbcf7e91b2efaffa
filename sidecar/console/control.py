"""What changes something: a Unix socket of its own, beside the journal, for who is the sidecar's user.

The console has no such route: a page in a browser can only look.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

SOCKET = "control.sock"

Rotate = Callable[[str | None], Awaitable[None]]


def control_application(rotate: Rotate | None) -> web.Application:
    """`POST /rotate/NAME` reads one secret again, `POST /rotate` all. `rotate` is None without secrets."""
    application = web.Application()

    async def answer(request: web.Request) -> web.Response:
        if rotate is None:
            raise web.HTTPConflict(text="no secret is configured\n")
        name = request.match_info.get("name")
        try:
            await rotate(name)
        except KeyError:
            raise web.HTTPNotFound(text=f"there is no secret {name!r}\n") from None
        return web.Response(status=202, text=f"{name or 'every secret'} is read again\n")

    application.router.add_post("/rotate", answer)
    application.router.add_post("/rotate/{name}", answer)
    return application


def control_path(journal_directory: Path) -> Path:
    """Where the socket is: nobody but the sidecar mounts the journal's volume."""
    return journal_directory / SOCKET
