"""A short bad day at the venue: each thing that a counter counts happens once or more."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import aiohttp

from devstack import vault
from devstack.configuration import ACCOUNT
from devstack.flow import Flow
from devstack.stack import Stack

DEADLINE_S = 30.0


@dataclass
class Venue:
    """The simulator of a stack, for faults and for orders that are not the broker's."""

    stack: Stack
    session: aiohttp.ClientSession

    async def fault(self, kind: str, **rule: Any) -> None:
        await self.command("faults", {"kind": kind, **rule})

    async def command(self, name: str, body: Mapping[str, Any]) -> None:
        async with self.session.post(f"{self.stack.addresses['simulator']}/simulator/{name}", json=body) as answer:
            assert answer.status < 300, await answer.text()

    async def heal(self) -> None:
        async with self.session.delete(f"{self.stack.addresses['simulator']}/simulator/faults") as answer:
            assert answer.status < 300, await answer.text()

    async def stranger(self, units: int) -> None:
        """An order past the broker, with the broker's own token."""
        token = (self.stack.place.state / "simulator-token").read_text()
        url = f"{self.stack.addresses['simulator']}/v3/accounts/{ACCOUNT}/orders"
        order = {"type": "MARKET", "instrument": "EUR_USD", "units": str(units), "timeInForce": "FOK"}
        headers = {"Authorization": f"Bearer {token}"}
        async with self.session.post(url, json={"order": order}, headers=headers) as answer:
            assert answer.status == 201, await answer.text()


@dataclass
class Client:
    """A caller of the order API."""

    stack: Stack
    session: aiohttp.ClientSession

    @classmethod
    def of(cls, stack: Stack, session: aiohttp.ClientSession) -> Self:
        return cls(stack, session)

    async def ask(self, method: str, path: str, body: Any = None, *, key: str = "") -> dict[str, Any]:
        headers = {"X-API-Key": self.stack.api_key, **({"Idempotency-Key": key} if key else {})}
        url = f"{self.stack.addresses['api']}/v1/{path}"
        async with self.session.request(method, url, json=body, headers=headers) as answer:
            return dict(await answer.json(content_type=None))

    async def order(self, key: str, *, units: str = "100", **more: str) -> dict[str, Any]:
        """Places an order; where a busy machine let the prices grow old, once more when they are fresh."""
        body = {"instrument": "EUR_USD", "side": "buy", "units": units, "type": "market", **more}
        async with asyncio.timeout(DEADLINE_S):
            while (answer := await self.ask("POST", "orders", body, key=key)).get("reason") == "PRICE_STALE":
                key += "-again"
                await asyncio.sleep(0.2)
        return answer

    async def wait_prices(self) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while len((await self.ask("GET", "prices?instruments=EUR_USD,GBP_USD,USD_JPY")).get("prices", ())) < 3:
                await asyncio.sleep(0.1)


async def bad_day(stack: Stack, session: aiohttp.ClientSession) -> None:
    """Good orders, refused ones, lost answers, cut streams, a rotation, a stranger and a restart of the broker."""
    venue, client = Venue(stack, session), Client(stack, session)
    await client.wait_prices()
    await Flow(stack.addresses["api"], stack.api_key, random.Random(3)).send(40)
    await client.order("too-big", units="999999999")
    trial = {"instrument": "EUR_USD", "side": "buy", "units": "100", "type": "market"}
    await client.ask("POST", "orders/test", trial)
    await client.order("twice")
    await client.order("twice")
    await _cancelled(client)
    await _faults(venue, client)
    await venue.fault("delay", method="POST", path="/orders", seconds=6)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(client.order("slow"))
        tasks.create_task(_rotation(stack))
    await venue.stranger(500)
    await client.ask("POST", "admin/reconcile")
    await client.ask("PUT", "admin/state", {"state": "active", "reason": "the stranger is known"})
    await client.order("after-all")
    assert await stack.restart_broker() == 0
    await client.wait_prices()


async def _cancelled(client: Client) -> None:
    prices = await client.ask("GET", "prices?instruments=EUR_USD")
    far = f"{float(prices['prices'][0]['bid']) * 0.99:.5f}"
    resting = await client.order("rests", type="limit", price=far)
    await client.ask("DELETE", f"orders/{resting['id']}")


async def _faults(venue: Venue, client: Client) -> None:
    for number, (kind, more) in enumerate(
        [("rate_limited", {}), ("reset_after", {}), ("error_before", {"status": 502}), ("unknown_value", {})]
    ):
        await venue.fault(kind, method="POST", path="/orders", **more)
        await client.order(f"fault-{number}")
    await venue.fault("error_before", method="GET", path="/openPositions")
    await venue.fault("error_before", method="GET", path="/summary")
    await client.ask("GET", "account")
    await client.ask("GET", "positions")
    await venue.command("scenario", {"scenario": "calm", "liquidity": 1})
    await client.order("no-liquidity", units="5000")
    await venue.command("scenario", {"scenario": "calm", "liquidity": 10_000_000})
    await venue.fault("stream_cut", path="/transactions")
    await client.order("while-cut-1")
    await client.order("while-cut-2")
    await venue.fault("stream_cut", path="/pricing")
    await asyncio.sleep(2)
    await venue.fault("stream_garbage", path="/transactions")
    await client.order("while-broken")
    await venue.heal()


async def _rotation(stack: Stack) -> None:
    assert stack.vault is not None
    keys = vault.api_keys({"flow": (stack.api_key, ["read", "trade", "admin"]), "more": ("k" * 32, ["read"])})
    await stack.vault.call("POST", "secret/data/broker/api-keys", {"data": keys})
    await asyncio.sleep(6)
