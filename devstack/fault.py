"""The faults that a drill causes, and the hands that cause them on a running stack."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from devstack.configuration import ACCOUNT
from devstack.process import ProcessError
from devstack.stack import Stack


@dataclass(slots=True)
class Scene:
    """A running stack, a Prometheus beside it, and the ways to hurt the one and to ask the other."""

    stack: Stack
    prometheus: str
    session: aiohttp.ClientSession

    async def fault(self, kind: str, **rule: Any) -> None:
        """A rule at the simulator."""
        await self._post(f"{self.stack.addresses['simulator']}/simulator/faults", {"kind": kind, "count": -1, **rule})

    async def order(self) -> None:
        """One market order through the order API; what becomes of it is not asked."""
        body = {"instrument": "EUR_USD", "side": "buy", "type": "market", "units": "100"}
        await self._post(f"{self.stack.addresses['api']}/v1/orders", body, {"X-API-Key": self.stack.api_key})

    async def orders(self, seconds: float) -> None:
        """Ten orders a second for a while."""
        async with asyncio.TaskGroup() as sent:
            for _ in range(int(seconds * 10)):
                sent.create_task(self.order())
                await asyncio.sleep(0.1)

    async def halt(self) -> None:
        """Act like a person who does not know what is going on."""
        url = f"{self.stack.addresses['api']}/v1/admin/state"
        headers = {"X-API-Key": self.stack.api_key}
        async with self.session.put(url, json={"state": "halted", "reason": "a drill"}, headers=headers) as answer:
            answer.raise_for_status()

    async def stranger(self) -> None:
        """An order past the broker, then a comparison with the venue."""
        token = (self.stack.place.state / "simulator-token").read_text()
        order = {"type": "MARKET", "instrument": "EUR_USD", "units": "500", "timeInForce": "FOK"}
        url = f"{self.stack.addresses['simulator']}/v3/accounts/{ACCOUNT}/orders"
        await self._post(url, {"order": order}, {"Authorization": f"Bearer {token}"})
        url = f"{self.stack.addresses['api']}/v1/admin/reconcile"
        await self._post(url, {}, {"X-API-Key": self.stack.api_key})

    async def stop(self, name: str) -> None:
        """Stops a process in its tracks: it neither answers nor ends."""
        self.stack.children[name].process.send_signal(signal.SIGSTOP)

    async def go_on(self) -> None:
        """Lets every process run again."""
        for child in self.stack.children.values():
            if not child.ended:
                child.process.send_signal(signal.SIGCONT)

    async def query(self, expr: str) -> list[dict[str, Any]]:
        """Series of an instant query.

        Raises:
            ProcessError: Prometheus refused it.
        """
        async with self.session.post(f"{self.prometheus}/api/v1/query", data={"query": expr}) as answer:
            body = await answer.json()
        if body["status"] != "success":
            raise ProcessError(f"{expr}: {body.get('error')}")
        result = body["data"]["result"]
        return list(result) if body["data"]["resultType"] == "vector" else [{"metric": {}, "value": result}]

    async def _post(self, url: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
        async with self.session.post(url, json=body, headers=headers) as answer:
            await answer.read()


Fault = Callable[[Scene], Awaitable[None]]


async def _orders_unknown(scene: Scene) -> None:
    await scene.fault("stream_stall", path="/transactions", seconds=30)
    await scene.fault("lag", method="GET", seconds=600)
    await scene.fault("reset_after", method="POST", path="/orders")
    await scene.order()


async def _venue_errors(scene: Scene) -> None:
    await scene.orders(3)
    await scene.fault("error_before", method="POST", path="/orders", status=502, chance=0.5)
    await scene.orders(5)


async def _venue_disconnected(scene: Scene) -> None:
    await scene.stop("simulator")


async def _unauthorized(scene: Scene) -> None:
    await scene.fault("unauthorized")
    await scene.order()


DRILLS: Mapping[str, tuple[str, Fault]] = {
    "OrdersUnknown": ("the venue's answer is lost and its log hides the order", _orders_unknown),
    "VenueDisconnected": ("the venue stops answering", _venue_disconnected),
    "VenueErrorsHigh": ("half of all orders meet a 502", _venue_errors),
    "VenueUnauthorized": ("the venue refuses our token", _unauthorized),
    "PricesStale": (
        "the price stream falls silent",
        lambda scene: scene.fault("stream_stall", path="/pricing", seconds=60),
    ),
    "TradingHalted": ("somebody halts trading", Scene.halt),
    "ReconcileMismatch": ("somebody trades beside us", Scene.stranger),
    "BrokerSilent": ("the broker hangs", lambda scene: scene.stop("broker")),
    "BrokerApiUnreachable": ("the broker hangs, its port with it", lambda scene: scene.stop("broker")),
    "SidecarDown": ("the sidecar hangs", lambda scene: scene.stop("sidecar")),
    "CollectorUnreachable": ("the collector hangs", lambda scene: scene.stop("collector")),
    "VaultUnreachable": ("Vault hangs", lambda scene: scene.stop("vault")),
}
