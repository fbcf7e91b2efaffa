"""The venue's two streams: one JSON object a line, a heartbeat every five seconds, no replay."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from broker.simulator.clock import rfc3339
from broker.simulator.faults import STREAM_KINDS, Rule
from broker.simulator.http.answers import encode
from broker.simulator.v20 import payloads as wire
from broker.simulator.venue import Subscription, Venue

Encode = Callable[[Mapping[str, Any]], bytes]


async def serve(
    request: web.Request, venue: Venue, subscription: Subscription, headers: dict[str, str]
) -> web.StreamResponse:
    """Writes a stream until the client goes, a fault cuts it or the simulator stops."""
    in_unix = request.headers.get("Accept-Datetime-Format") == "UNIX"
    response = web.StreamResponse(headers=headers | {"Content-Type": "application/octet-stream"})
    await response.prepare(request)
    venue.subscriptions.append(subscription)
    if subscription.kind == "pricing":
        subscription.offer_prices(list(venue.market.prices.values()))
    try:
        await _pump(request, response, venue, subscription, lambda line: encode(line, in_unix=in_unix) + b"\n")
    except ConnectionError:
        pass  # the client went: that is how a stream ends
    finally:
        venue.subscriptions.remove(subscription)
    return response


async def _pump(
    request: web.Request, response: web.StreamResponse, venue: Venue, subscription: Subscription, line: Encode
) -> None:
    loop = asyncio.get_running_loop()
    next_beat = loop.time()
    while not subscription.ended:
        if next_beat <= loop.time():
            await response.write(line(_heartbeat(venue, subscription)))
            next_beat = loop.time() + venue.options.heartbeat_s
        try:
            async with asyncio.timeout_at(next_beat):
                await subscription.wake.wait()
        except TimeoutError:
            pass
        fault = venue.faults.take("GET", request.path, kinds=STREAM_KINDS)
        data = b"".join(line(item) for item in _waiting(venue, subscription))
        if fault is not None:
            await _show(fault, request, response, data or line(_heartbeat(venue, subscription)))
        if data:
            await response.write(data)


def _waiting(venue: Venue, subscription: Subscription) -> list[Mapping[str, Any]]:
    prices, entries = subscription.take()
    return [*(wire.price(item, venue.market.prices) for item in prices), *entries]


async def _show(fault: Rule, request: web.Request, response: web.StreamResponse, data: bytes) -> None:
    if fault.kind == "stream_stall":
        await asyncio.sleep(fault.seconds)
        return
    half = data[: len(data) // 2]
    if fault.kind == "stream_garbage":
        await response.write(half + b"\n")
        return
    await response.write(half)
    if request.transport is not None:
        # A half line, then nothing: closing waits for what is written, aborting does not.
        request.transport.close()
    raise ConnectionResetError


def _heartbeat(venue: Venue, subscription: Subscription) -> dict[str, Any]:
    beat: dict[str, Any] = {"type": "HEARTBEAT", "time": rfc3339(venue.clock.now_ns())}
    if subscription.kind == "transactions":
        beat["lastTransactionID"] = venue.accounts[subscription.account].last_id
    return beat
