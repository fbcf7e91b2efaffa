"""Probes over HTTP: the cached verdicts, as text like that of the Kubernetes API server or as JSON.

https://kubernetes.io/docs/reference/using-api/health-checks/
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from sidecar.health.conditions import HealthCondition, ProbeVerdict
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


def probe_application(health: HealthMonitor) -> web.Application:
    """Build the application of `health.address`."""
    application = web.Application()
    for path, probe in PATHS.items():
        application.router.add_get(path, _handler(health, probe))
    return application


def _handler(health: HealthMonitor, probe: str) -> Callable[[web.Request], Any]:
    async def answer(request: web.Request) -> web.Response:
        found = health.verdict(probe)
        # The kubelet counts any 2xx or 3xx as a pass; 503 says that asking again may help.
        status = 200 if found.ok else 503
        if "application/json" in request.headers.get("Accept", ""):
            text, kind = json.dumps(verdict_json(found)), "application/json"
        else:
            text, kind = verdict_text(found, verbose="verbose" in request.query), "text/plain"
        return web.Response(status=status, text=text, content_type=kind, headers=_NEVER_KEPT)

    return answer


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
    """Convert a verdict to JSON values."""
    return {"probe": found.probe, "ok": found.ok, "conditions": [condition_json(item) for item in found.conditions]}


def condition_json(item: HealthCondition) -> dict[str, Any]:
    """Convert a condition to JSON values; `since` is RFC 3339."""
    return {
        "name": item.name,
        "ok": item.ok,
        "reason": item.reason,
        "message": item.message,
        "since": time_text(item.since_ns) if item.since_ns else None,
        "advisory": item.advisory,
    }


def time_text(time_ns: int) -> str:
    """Write Unix nanoseconds in RFC 3339, to the millisecond."""
    moment = datetime.fromtimestamp(time_ns // 1_000_000 / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
