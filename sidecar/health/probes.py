"""Probes over HTTP and gRPC, which answer with the cached verdicts.

Over HTTP they are text like that of the Kubernetes API server, or JSON. Over gRPC each probe is a service of
`grpc.health.v1`, and the empty service name is `livez`: clients such as grpc-go watch the empty name, and the
kubelet's gRPC probe asks for it by default.
https://kubernetes.io/docs/reference/using-api/health-checks/
https://github.com/grpc/grpc/blob/master/doc/health-checking.md
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from aiohttp import web
from grpc_health.v1 import health as official
from grpc_health.v1.health_pb2 import HealthCheckResponse, HealthListRequest, HealthListResponse

from pod_runtime.cancellation import PersistentTaskGroup
from sidecar.health.conditions import PROBES, HealthCondition, ProbeVerdict
from sidecar.health.health import HealthMonitor

PATHS = {
    "/livez": "livez",
    "/livez/broker": "livez/broker",
    "/readyz": "readyz",
    "/startupz": "startupz",
    # The last two are what load balancers and compose files ask for by habit.
    "/health": "livez/broker",
    "/ready": "readyz",
}
# A proxy between a probe and us must not answer for us.
_NEVER_KEPT = {"Cache-Control": "no-store"}

ServingStatus = HealthCheckResponse.ServingStatus
_OVERALL = ""


def probe_application(health: HealthMonitor) -> web.Application:
    """Build the application of `health.address`."""
    application = web.Application()
    for path, probe in PATHS.items():
        application.router.add_get(path, partial(_answer, health, probe))
    return application


async def _answer(health: HealthMonitor, probe: str, request: web.Request) -> web.Response:
    found = health.verdict(probe)
    # The kubelet counts any 2xx or 3xx as a pass; 503 says that asking again may help.
    status = 200 if found.ok else 503
    if "application/json" in request.headers.get("Accept", ""):
        text, kind = json.dumps(verdict_json(found)), "application/json"
    else:
        text, kind = verdict_text(found, verbose="verbose" in request.query), "text/plain"
    return web.Response(status=status, text=text, content_type=kind, headers=_NEVER_KEPT)


def verdict_text(found: ProbeVerdict, *, verbose: bool) -> str:
    """Write the verdict in one line, or with `verbose` in a line for each condition and a last one."""
    # The lines and marks of the Kubernetes API server's /readyz?verbose, which operators can read already.
    if verbose:
        lines = [_line(item) for item in found.conditions]
        return "\n".join([*lines, f"{found.probe} check {'passed' if found.ok else 'failed'}", ""])
    if found.ok:
        return "ok\n"
    failing = (f"{item.name}: {item.reason}: {item.message}" for item in found.conditions if not item.ok)
    return "\n".join([*failing, ""])


def _line(item: HealthCondition) -> str:
    state = f"[+]{item.name} ok" if item.ok else f"[-]{item.name} failed: {item.reason}"
    message = f": {item.message}" if item.message else ""
    since = f" (since {time_text(item.since_ns)})" if item.since_ns else ""
    return f"{state}{message}{since}"


def verdict_json(found: ProbeVerdict) -> dict[str, Any]:
    """Convert a verdict to JSON values; the `since` of a condition is RFC 3339."""
    conditions = [
        {
            "name": item.name,
            "ok": item.ok,
            "reason": item.reason,
            "message": item.message,
            "since": time_text(item.since_ns) if item.since_ns else None,
            "advisory": item.advisory,
        }
        for item in found.conditions
    ]
    return {"probe": found.probe, "ok": found.ok, "conditions": conditions}


def time_text(time_ns: int) -> str:
    """Write Unix nanoseconds in RFC 3339, to the millisecond."""
    moment = datetime.fromtimestamp(time_ns // 1_000_000 / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class ListingHealthServicer(official.aio.HealthServicer):  # type: ignore[misc]
    """Official servicer with the method of `grpc.health.v1` that it lacks."""

    async def List(self, _: HealthListRequest, __: Any) -> HealthListResponse:  # noqa: N802 - gRPC's name
        """Answer the status of every service."""
        found = {name: HealthCheckResponse(status=status) for name, status in self._server_status.items()}
        return HealthListResponse(statuses=found)


class GrpcHealth:
    """Forwards verdicts to the official servicer. `tell` and `run` belong to one event loop."""

    def __init__(self) -> None:
        self.servicer = ListingHealthServicer()
        self._verdicts: Mapping[str, bool] = dict.fromkeys(PROBES, False)
        self._changed = asyncio.Event()
        # Set from the start: a client that watches hears NOT_SERVING, not that the service is unknown.
        self._changed.set()

    def tell(self, verdicts: Mapping[str, bool]) -> None:
        """Take the verdicts that `run` serves next; only the latest ones count."""
        self._verdicts = verdicts
        self._changed.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Serve each change until `stop`, then answer NOT_SERVING for all of them."""
        async with PersistentTaskGroup() as tasks:
            follower = tasks.create_task(self._follow())
            await stop.wait()
            follower.cancel()
        await self.servicer.enter_graceful_shutdown()

    async def _follow(self) -> None:
        # `servicer.set` is a coroutine and `tell` is called from synchronous code, so an event parts the two.
        while True:
            await self._changed.wait()
            self._changed.clear()
            for name, ok in {**self._verdicts, _OVERALL: self._verdicts["livez"]}.items():
                await self.servicer.set(name, ServingStatus.SERVING if ok else ServingStatus.NOT_SERVING)
