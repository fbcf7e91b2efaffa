"""The venue's two streams: one JSON object a line, heartbeats between them, no replay."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import web

from broker.simulator import wire
from broker.simulator.account import Transaction
from broker.simulator.clock import rfc3339
from broker.simulator.faults import STREAM_KINDS, Rule
from broker.simulator.market import Price
from broker.simulator.venue import Subscription, Venue


async def serve(request: web.Request, venue: Venue, subscription: Subscription) -> web.StreamResponse:
    """Writes a stream until the client goes or a fault cuts it."""
    response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
    await response.prepare(request)
    venue.subscriptions.append(subscription)
    try:
        if subscription.kind == "pricing":
            for name in sorted(subscription.instruments):
                subscription.offer(venue.market.prices[name])
        else:
            await _write(response, _heartbeat(venue, subscription))
        await _pump(response, venue, subscription)
    except ConnectionError:
        pass  # the client went: that is how a stream ends
    finally:
        venue.subscriptions.remove(subscription)
    return response


async def _pump(response: web.StreamResponse, venue: Venue, subscription: Subscription) -> None:
    while True:
        try:
            item: Price | Transaction | None = await asyncio.wait_for(
                subscription.lines.get(), venue.options.heartbeat_s
            )
        except TimeoutError:
            item = None
        fault = venue.faults.take("GET", f"/{subscription.kind}/stream", kinds=STREAM_KINDS)
        line = _heartbeat(venue, subscription) if item is None else _line(item, venue)
        if fault is not None and await _shows(fault, response, line):
            return
        await _write(response, line)


async def _shows(fault: Rule, response: web.StreamResponse, line: dict[str, Any]) -> bool:
    """Whether the fault ended the stream."""
    if fault.kind == "stream_stall":
        await asyncio.sleep(fault.seconds)
        return False
    data = json.dumps(line).encode()
    await response.write(data[: len(data) // 2])
    transport = response._req.transport if response._req is not None else None  # noqa: SLF001 - aiohttp has no public way to cut a response
    if transport is not None:
        transport.abort()
    return True


def _line(item: Price | Transaction, venue: Venue) -> dict[str, Any]:
    return wire.price(item, venue.market.prices) if isinstance(item, Price) else item


def _heartbeat(venue: Venue, subscription: Subscription) -> dict[str, Any]:
    beat: dict[str, Any] = {"type": "HEARTBEAT", "time": rfc3339(venue.clock.now_ns())}
    if subscription.kind == "transactions":
        beat["lastTransactionID"] = venue.accounts[subscription.account].last_id
    return beat


async def _write(response: web.StreamResponse, line: dict[str, Any]) -> None:
    await response.write(json.dumps(line).encode() + b"\n")
