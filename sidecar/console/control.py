"""Control socket: a Unix socket for the commands that change something, beside the journal.

The console's TCP port has no such route, because it asks nobody who they are: a page of another site, or any process
of the pod, could call it. The kernel guards the socket instead: `serve_control` gives it mode 0600, and only the
sidecar mounts the journal's volume, so a client that can connect is the sidecar's own user (unix(7)). In a cluster
`kubectl exec` reaches it, for which a role is needed, and a port-forward does not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from aiohttp import web

SOCKET = "control.sock"


class Rotator(Protocol):
    """Reader of secrets that can be asked to read again: the secrets agent."""

    async def rotate(self, name: str | None) -> None:
        """Read one secret again, or all for None; KeyError for an unknown name."""


def control_application(rotator: Rotator | None) -> web.Application:
    """Build the application: `POST /rotate/NAME` reads one secret again, `POST /rotate` all.

    `rotator` is None if no secret is configured.
    """
    application = web.Application()

    async def answer(request: web.Request) -> web.Response:
        if rotator is None:
            raise web.HTTPConflict(text="no secret is configured\n")
        name = request.match_info.get("name")
        try:
            await rotator.rotate(name)
        except KeyError:
            raise web.HTTPNotFound(text=f"there is no secret {name!r}\n") from None
        return web.Response(status=202, text=f"{name or 'every secret'} is read again\n")

    application.router.add_post("/rotate", answer)
    application.router.add_post("/rotate/{name}", answer)
    return application


def control_path(journal_directory: Path) -> Path:
    """Return the path of the socket."""
    return journal_directory / SOCKET
