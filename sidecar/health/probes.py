"""Probes over HTTP: the cached verdicts, as text in the manner of Kubernetes or as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from sidecar.health.conditions import Condition, Verdict
from sidecar.health.health import Health

PATHS = {
    "/livez": "livez",
    "/livez/broker": "livez/broker",
    "/readyz": "readyz",
    "/startupz": "startupz",
    "/health": "livez/broker",
    "/ready": "readyz",
}
_NEVER_KEPT = {"Cache-Control": "no-store"}


def probe_application(health: Health) -> web.Application:
    """The application of `health.address`."""
    application = web.Application()
    for path, probe in PATHS.items():
        application.router.add_get(path, _handler(health, probe))
    return application


def _handler(health: Health, probe: str) -> Callable[[web.Request], Any]:
    async def answer(request: web.Request) -> web.Response:
        found = health.verdict(probe)
        status = 200 if found.ok else 503
        if "application/json" in request.headers.get("Accept", ""):
            text, kind = json.dumps(verdict_json(found)), "application/json"
        else:
            text, kind = verdict_text(found, verbose="verbose" in request.query), "text/plain"
        return web.Response(status=status, text=text, content_type=kind, headers=_NEVER_KEPT)

    return answer


def verdict_text(found: Verdict, *, verbose: bool) -> str:
    """One line; verbose, a line for each condition as well."""
    if verbose:
        lines = [_line(item) for item in found.conditions]
        return "\n".join([*lines, f"{found.probe} check {'passed' if found.ok else 'failed'}", ""])
    if found.ok:
        return "ok\n"
    failing = (f"{item.name}: {item.reason}: {item.message}" for item in found.conditions if not item.ok)
    return "\n".join([*failing, ""])


def _line(item: Condition) -> str:
    state = f"[+]{item.name} ok" if item.ok else f"[-]{item.name} failed: {item.reason}"
    message = f": {item.message}" if item.message else ""
    since = f" (since {time_text(item.since_ns)})" if item.since_ns else ""
    return f"{state}{message}{since}"


def verdict_json(found: Verdict) -> dict[str, Any]:
    """The verdict as JSON has it."""
    return {"probe": found.probe, "ok": found.ok, "conditions": [condition_json(item) for item in found.conditions]}


def condition_json(item: Condition) -> dict[str, Any]:
    """A condition as JSON has it, its beginning in RFC 3339."""
    return {
        "name": item.name,
        "ok": item.ok,
        "reason": item.reason,
        "message": item.message,
        "since": time_text(item.since_ns) if item.since_ns else None,
        "advisory": item.advisory,
    }


def time_text(time_ns: int) -> str:
    """Unix nanoseconds in RFC 3339, to the millisecond."""
    moment = datetime.fromtimestamp(time_ns // 1_000_000 / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
