"""API server of a cluster that has nothing but Leases, and takes or refuses tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer
from lightkube import AsyncClient, KubeConfig
from lightkube.config.models import Cluster, User

BASE = "/apis/coordination.k8s.io/v1/namespaces/trading/leases"
LEASE = "broker-101"


class ApiServer:
    """Leases over HTTP, with the API server's rules of versions."""

    def __init__(self) -> None:
        self.leases: dict[str, dict[str, Any]] = {}
        self.version = 0
        self.is_down = False
        self.refused_tokens: set[str] = set()
        self.front: web.Response | None = None
        """Answer of something in front of the server, in its place."""
        self.url = ""

    def _take(self, body: dict[str, Any]) -> web.Response:
        self.version += 1
        body["metadata"]["resourceVersion"] = str(self.version)
        self.leases[body["metadata"]["name"]] = body
        return web.json_response(body)

    def _refuse(self, code: int, reason: str) -> web.Response:
        body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason}
        return web.json_response(body, status=code)

    def _away(self, request: web.Request) -> web.Response | None:
        if self.front is not None:
            return web.Response(status=self.front.status, body=self.front.body, content_type=self.front.content_type)
        if self.is_down:
            return self._refuse(503, "ServiceUnavailable")
        is_expired = request.headers["Authorization"].removeprefix("Bearer ") in self.refused_tokens
        return self._refuse(401, "Unauthorized") if is_expired else None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if (answer := self._away(request)) is not None:
            return answer
        body = await request.json() if request.can_read_body else {}
        name = request.match_info.get("name") or body["metadata"]["name"]
        held = self.leases.get(name)
        if request.method == "POST":
            return self._refuse(409, "AlreadyExists") if held else self._take(body)
        if held is None:
            return self._refuse(404, "NotFound")
        if request.method == "PUT":
            stale = body["metadata"].get("resourceVersion") != held["metadata"]["resourceVersion"]
            return self._refuse(409, "Conflict") if stale else self._take(body)
        return web.json_response(held)

    def client(self, user: User) -> AsyncClient:
        """Client with the user's token; the caller closes it."""
        return AsyncClient(config=KubeConfig.from_one(cluster=Cluster(server=self.url), user=user, namespace="trading"))


@asynccontextmanager
async def serving_leases() -> AsyncIterator[ApiServer]:
    server = ApiServer()
    app = web.Application()
    app.router.add_route("*", BASE, server.handle)
    app.router.add_route("*", BASE + "/{name}", server.handle)
    running = TestServer(app)
    await running.start_server()
    server.url = str(running.make_url("")).rstrip("/")
    yield server
    await running.close()
