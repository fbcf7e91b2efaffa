"""The venue's two streams: one JSON object a line, a heartbeat every five seconds, no replay."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from broker.simulator.account import payloads
from broker.simulator.clock import rfc3339
from broker.simulator.faults import STREAM_KINDS, FaultRule
from broker.simulator.v20.answers import encode
from broker.simulator.venue import SimulatedVenue, Subscription


async def serve(
    request: web.Request, venue: SimulatedVenue, subscription: Subscription, headers: dict[str, str]
) -> web.StreamResponse:
    """Write a stream until the client goes, a fault cuts it or the simulator stops."""
    response = web.StreamResponse(headers=headers | {"Content-Type": "application/octet-stream"})
    await response.prepare(request)
    venue.subscriptions.append(subscription)
    if subscription.kind == "pricing" and request.query.get("snapshot", "true").lower() != "false":
        subscription.offer_prices(list(venue.market.prices.values()))
    try:
        with suppress(ConnectionError):  # the client went: that is how a stream ends
            await _Stream(request, response, venue, subscription).pump()
    finally:
        venue.subscriptions.remove(subscription)
    return response


@dataclass(slots=True)
class _Stream:
    request: web.Request
    response: web.StreamResponse
    venue: SimulatedVenue
    subscription: Subscription

    async def pump(self) -> None:
        loop = asyncio.get_running_loop()
        next_heartbeat = loop.time()
        # The first heartbeat comes at once: it tells the last id before anything happens.
        while not self.subscription.ended:
            if next_heartbeat <= loop.time():
                await self.response.write(self._heartbeat())
                next_heartbeat = loop.time() + self.venue.options.heartbeat_s
            with suppress(TimeoutError):
                async with asyncio.timeout_at(next_heartbeat):
                    await self.subscription.wake.wait()
            # Asked each time round, not only with data: a cut must not wait for the next price.
            fault = self.venue.faults.take("GET", self.request.path, kinds=STREAM_KINDS)
            prices, entries = self.subscription.take()
            lines = (payloads.price(item, self.venue.market.prices) for item in prices)
            data = b"".join(self._line(item) for item in (*lines, *entries))
            if fault is not None:
                await self._show(fault, data or self._heartbeat())
            if data:
                await self.response.write(data)

    def _heartbeat(self) -> bytes:
        beat: dict[str, Any] = {"type": "HEARTBEAT", "time": rfc3339(self.venue.clock.now_ns())}
        if self.subscription.kind == "transactions":
            beat["lastTransactionID"] = self.venue.accounts[self.subscription.account].last_id
        return self._line(beat)

    def _line(self, item: Mapping[str, Any]) -> bytes:
        return encode(item, self.request.headers) + b"\n"

    async def _show(self, fault: FaultRule, data: bytes) -> None:
        if fault.kind == "stream_stall":
            await asyncio.sleep(fault.seconds)
            return
        half = data[: len(data) // 2]
        if fault.kind == "stream_garbage":
            await self.response.write(half + b"\n")
            return
        await self.response.write(half)
        if self.request.transport is not None:
            # A half line, then nothing: closing waits for the bytes that are written, aborting does not.
            self.request.transport.close()
        raise ConnectionResetError
