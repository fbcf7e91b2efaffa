"""Server of the simulated venue on two ports, as the real one has two hosts: REST and streams."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, Self

from aiohttp import web

from broker.simulator.clock import SimulatedClock
from broker.simulator.http import admin
from broker.simulator.http.handlers import Handler, HandlerFactory
from broker.simulator.http.routes import CREATING, ROUTES
from broker.simulator.venue import Options, SimulatedVenue
from pod_runtime.listener.ports import listen, name_of

SHUTDOWN_S = 0.2
"""Wait for open requests; a `hang` fault would hold the server for an hour."""


class Simulator:
    """A v20 server. `async with` opens and closes it; port 0 is a free one.

    `options` may be given as a whole, or by the names of its fields.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        stream_port: int = 0,
        options: Options | None = None,
        clock: SimulatedClock | None = None,
        **changed: Any,
    ) -> None:
        self.options = replace(options or Options(), **changed)
        self.venue = SimulatedVenue(self.options, clock or SimulatedClock(self.options.speed))
        self._addresses = ((host, port), (host, stream_port))
        self._stack = AsyncExitStack()
        self.rest_address = self.stream_address = ""

    @property
    def rest_url(self) -> str:
        """Scheme and host of the REST API, without /v3."""
        return f"http://{self.rest_address}"

    @property
    def stream_url(self) -> str:
        """Scheme and host of the streams, without /v3."""
        return f"http://{self.stream_address}"

    @property
    def token(self) -> str:
        """One of the tokens that authorize."""
        return next(iter(self.options.tokens))

    @property
    def account(self) -> str:
        """The first account."""
        return self.options.accounts[0]

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            sockets = [listen(*address) for address in self._addresses]
            for taken in sockets:
                stack.callback(taken.close)
            runner = web.AppRunner(application(self.venue), access_log=None, shutdown_timeout=SHUTDOWN_S)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            for taken in sockets:
                await web.SockSite(runner, taken).start()
            self.rest_address, self.stream_address = (name_of(taken) for taken in sockets)
            group = await stack.enter_async_context(asyncio.TaskGroup())
            stack.callback(group.create_task(self.venue.run()).cancel)
            # Only now: had anything above failed, the inner stack would have closed the rest.
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()


def application(venue: SimulatedVenue) -> web.Application:
    """Build every route: v20's, the streams' and the simulator's own."""
    app = web.Application(middlewares=[_as_json], client_max_size=1 << 20)
    handlers = HandlerFactory(venue)
    for kind in ("pricing", "transactions"):
        app.router.add_get(f"/v3/accounts/{{account}}/{kind}/stream", handlers.stream(kind))
    for route, endpoint in ROUTES.items():
        method, path = route.replace("~", "/accounts/{account}").split()
        status = 201 if route in CREATING else 200
        app.router.add_route(method, f"/v3{path}", handlers.endpoint(endpoint, status))
    for route, command in admin.COMMANDS.items():
        method, path = route.split()
        app.router.add_route(method, path, admin.handler(venue, command))
    app.on_shutdown.append(handlers.end_streams)
    return app


@web.middleware
async def _as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error_:
        # aiohttp's own 404 and 405 are plain text; clients of v20 expect JSON of every answer.
        return web.json_response({"errorMessage": error_.reason}, status=error_.status, headers={"RequestID": "0"})
