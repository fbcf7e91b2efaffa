"""What every request meets first: the token, the rate limit, the faults; and what every answer carries."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from broker.simulator.clock import unix
from broker.simulator.faults import REQUEST_KINDS, Rule
from broker.simulator.requests import InvalidRequestError
from broker.simulator.venue import Venue

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
VENUE = web.AppKey("venue", Venue)
UNAUTHORIZED = {"errorMessage": "Insufficient authorization to perform request."}
HTML = "<html><head><title>503 Service Temporarily Unavailable</title></head><body>nginx</body></html>"
_REFUSES = {"error_before", "html", "unauthorized", "rate_limited"}


def answer(body: Any, status: int = 200) -> web.Response:
    """A JSON answer."""
    return web.Response(text=json.dumps(body), status=status, content_type="application/json")


@web.middleware
async def authorize(request: web.Request, handler: Handler) -> web.StreamResponse:
    """401 without a token that the venue knows; 403 is for accounts of somebody else."""
    if not request.path.startswith("/v3/"):
        return await handler(request)
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme != "Bearer" or token not in request.app[VENUE].tokens:
        return answer(UNAUTHORIZED, 401)
    return await handler(request)


class RateLimit:
    """Counts requests in a sliding second, as the venue counts them for an IP."""

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._times: list[float] = []

    def allows(self, now_s: float) -> bool:
        """Whether one more is within the limit."""
        self._times = [moment for moment in self._times if moment > now_s - 1.0]
        if self._per_s and len(self._times) >= self._per_s:
            return False
        self._times.append(now_s)
        return True


def limit(per_s: float) -> Any:
    """429 for what is over the limit."""
    window = RateLimit(per_s)

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/v3/") and not window.allows(time.monotonic()):
            return answer({"errorMessage": "Rate limit exceeded"}, 429)
        return await handler(request)

    return middleware


@web.middleware
async def misbehave(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Shows the fault that is due, if any."""
    venue = request.app[VENUE]
    if not request.path.startswith("/v3/") or request.path.endswith("/stream"):
        return await handler(request)
    fault = venue.faults.take(
        request.method, request.path, request.headers.get("X-Simulate-Fault"), kinds=REQUEST_KINDS
    )
    await asyncio.sleep(venue.options.latency_s)
    if fault is None:
        return await handler(request)
    request["fault"] = fault
    if fault.kind == "reset_before":
        return _cut(request)
    if fault.kind in _REFUSES:
        return _refusal(fault)
    if fault.kind == "delay":
        await asyncio.sleep(fault.seconds)
    return await _afterwards(request, fault, await handler(request))


async def _afterwards(request: web.Request, fault: Rule, response: web.StreamResponse) -> web.StreamResponse:
    if fault.kind == "hang":
        await asyncio.sleep(fault.seconds or 3600)
    if fault.kind == "reset_after":
        return _cut(request)
    if fault.kind == "error_after":
        return answer({"errorMessage": "Timeout waiting for response."}, fault.status)
    if fault.kind == "half_body" and isinstance(response, web.Response) and isinstance(response.body, bytes):
        half = web.StreamResponse(status=response.status, headers={"Content-Type": "application/json"})
        half.content_length = len(response.body)
        await half.prepare(request)
        await half.write(response.body[: len(response.body) // 2])
        return _cut(request)
    if fault.kind == "unknown_value" and isinstance(response, web.Response) and isinstance(response.body, bytes):
        body = json.loads(response.body) | {"somethingNew": {"kind": "NOBODY_KNOWS"}}
        return answer(body, response.status)
    return response


def _refusal(fault: Rule) -> web.Response:
    match fault.kind:
        case "html":
            return web.Response(text=HTML, status=503, content_type="text/html")
        case "unauthorized":
            return answer(UNAUTHORIZED, 401)
        case "rate_limited":
            return answer({"errorMessage": "Rate limit exceeded"}, 429)
        case _:
            return answer({"errorMessage": "Timeout waiting for response."}, fault.status)


def _cut(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


@web.middleware
async def dress(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Gives the request its id, and the answer its header, its errors' form and its format of times."""
    venue = request.app[VENUE]
    request["id"] = venue.request_id()
    try:
        response = await handler(request)
    except InvalidRequestError as error:
        response = answer(
            {"errorCode": "oanda::rest::core::InvalidParameterException", "errorMessage": str(error)}, 400
        )
    except web.HTTPNotFound:
        response = answer({"errorMessage": "Not found"}, 404)
    except web.HTTPMethodNotAllowed:
        response = answer({"errorMessage": "Method Not Allowed"}, 405)
    if not response.prepared:
        response.headers["RequestID"] = request["id"]
        if request.headers.get("Accept-Datetime-Format") == "UNIX" and isinstance(response, web.Response):
            response.text = json.dumps(_unix(json.loads(response.text or "null")))
    venue.publish()
    return response


def _unix(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _unix(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_unix(item) for item in value]
    if isinstance(value, str) and len(value) == len("2026-11-24T10:00:00.000000000Z") and value[10] == "T":
        return unix(value)
    return value
