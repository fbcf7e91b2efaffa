"""The simulated venue as an HTTP server, for a process of its own or inside a test."""

from __future__ import annotations

import asyncio
from typing import Any, Self

from aiohttp import web

from broker.simulator import admin, routes_account, routes_orders
from broker.simulator.middleware import VENUE, authorize, dress, limit, misbehave
from broker.simulator.venue import Options, Venue

SHUTDOWN_S = 1.0


def application(venue: Venue) -> web.Application:
    """The routes of v20 and of the administration, over one venue."""
    app = web.Application(middlewares=[dress, limit(venue.options.requests_per_s), authorize, misbehave])
    app[VENUE] = venue
    for table in (routes_account.routes, routes_orders.routes, admin.routes):
        app.add_routes(table)
    return app


class Simulator:
    """A venue that listens on loopback while the block runs. REST and streams share the port."""

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0, **options: Any) -> None:
        self.venue = Venue(Options(**options))
        self._host, self._port = host, port
        self._runner: web.AppRunner | None = None
        self._market: asyncio.Task[None] | None = None

    @property
    def state(self) -> Venue:
        """The venue itself, for a test to look into."""
        return self.venue

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"{self._host}:{self._port}"

    @property
    def rest_url(self) -> str:
        """Base of the REST API."""
        return f"http://{self.address}"

    @property
    def stream_url(self) -> str:
        """Base of the streams."""
        return self.rest_url

    async def __aenter__(self) -> Self:
        self._runner = web.AppRunner(application(self.venue), access_log=None, shutdown_timeout=SHUTDOWN_S)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()
        self._port = self._runner.addresses[0][1]
        self._market = asyncio.create_task(self.venue.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._market is not None:
            self._market.cancel()
            await asyncio.gather(self._market, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()
