"""`make drill NAME=…`: causes a fault on a local stack, shows its alert fire, and asks the runbook's queries.

Rules and thresholds are those that ship; `for` is two seconds, so that a drill takes less than a shift.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import click
import yaml

from devstack.configuration import ACCOUNT
from devstack.process import ProcessError, start
from devstack.settings import temporary_place
from devstack.stack import Stack
from runtime.run import complain, run

ROOT = Path(__file__).resolve().parents[1]
RULES = ROOT / "k8s" / "monitoring" / "prometheus-rules.yaml"
RUNBOOKS = ROOT / "docs" / "runbooks"
FIRES_WITHIN_S = 240.0
LABELS = {"namespace": "broker", "pod": "broker-1", "job": "broker/broker-sidecar"}
EX_SOFTWARE = 70


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
        """What a person does who does not know what is going on."""
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
    "SidecarDown": ("the sidecar hangs", lambda scene: scene.stop("sidecar")),
    "CollectorUnreachable": ("the collector hangs", lambda scene: scene.stop("collector")),
    "VaultUnreachable": ("Vault hangs", lambda scene: scene.stop("vault")),
}


def rules() -> dict[str, Any]:
    """The shipped rules, evaluated each second, with a `for` of two, and a market that is always open."""
    tree: dict[str, Any] = yaml.safe_load(RULES.read_text())
    for group in tree["groups"]:
        group["interval"] = "1s"
        for rule in group["rules"]:
            if "for" in rule:
                rule["for"] = "2s"
            if rule.get("record") == "market:open":
                rule["expr"] = "vector(1)"
    return tree


def runbook_queries(alert: str) -> list[str]:
    """The queries that an alert's runbook tells a person to ask."""
    text = (RUNBOOKS / f"{alert}.md").read_text()
    return [
        line for block in re.findall(r"```promql\n(.*?)```", text, re.DOTALL) for line in block.strip().splitlines()
    ]


async def _prometheus(stack: Stack) -> str:
    binary = shutil.which("prometheus")
    if binary is None:
        raise ProcessError("a drill needs prometheus on this machine: make test-deps")
    place = stack.place.state
    target = {"targets": [stack.addresses["metrics"].removeprefix("http://")], "labels": LABELS}
    tree = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
        "rule_files": [str(place / "rules.yml")],
        "scrape_configs": [{"job_name": "stack", "static_configs": [target]}],
    }
    (place / "rules.yml").write_text(yaml.safe_dump(rules()))
    (place / "prometheus.yml").write_text(yaml.safe_dump(tree))
    address = f"127.0.0.1:{stack.port('prometheus')}"
    options = [f"--config.file={place}/prometheus.yml", f"--storage.tsdb.path={place}/tsdb"]
    command = [binary, *options, f"--web.listen-address={address}"]
    stack.children["prometheus"] = await start("prometheus", command, directory=place, environ={})
    return f"http://{address}"


async def drill(scene: Scene, name: str) -> None:
    """Causes the fault and waits for the alert.

    Raises:
        ProcessError: it does not fire in time, or a query of its runbook is refused.
    """
    what, fault = DRILLS[name]
    scene.stack.say(f"fault      {what}")
    began = time.monotonic()
    await fault(scene)
    await _fires(scene, name, began)
    for query in runbook_queries(name):
        scene.stack.say(f"runbook    {query}")
        for item in (await scene.query(query))[:6]:
            labels = ", ".join(f"{key}={value}" for key, value in item["metric"].items() if key not in LABELS)
            scene.stack.say(f"             {float(item['value'][1]):g}  {labels}")
    scene.stack.say(f"next       {RUNBOOKS.relative_to(ROOT) / name}.md")


async def _fires(scene: Scene, name: str, began: float) -> None:
    state = ""
    while state != "firing":
        if time.monotonic() - began > FIRES_WITHIN_S:
            raise ProcessError(f"{name} did not fire within {FIRES_WITHIN_S:.0f} s")
        await asyncio.sleep(0.5)
        found = {item["metric"]["alertstate"] for item in await scene.query(f'ALERTS{{alertname="{name}"}}')}
        now = "firing" if "firing" in found else "pending" if found else ""
        if now != state and now:
            scene.stack.say(f"{now:<10} {name} after {time.monotonic() - began:.0f} s")
        state = now


async def _session(stack: Stack, name: str, stop: asyncio.Event) -> int:
    try:
        await stack.start()
        address = await _prometheus(stack)
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15)) as session:
            scene = Scene(stack, address, session)
            await _scraped(scene)
            acting = asyncio.ensure_future(drill(scene, name))
            leaving = asyncio.ensure_future(stop.wait())
            try:
                await asyncio.wait({acting, leaving}, return_when=asyncio.FIRST_COMPLETED)
                if acting.done():
                    acting.result()
            finally:
                acting.cancel()
                leaving.cancel()
                await scene.go_on()
    finally:
        await stack.stop()
        if (child := stack.children.get("prometheus")) is not None:
            await child.stop(5.0)
    return 0


async def _scraped(scene: Scene) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                if await scene.query('broker_connection_status{channel="rest"} == 1'):
                    return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.3)


@click.command()
@click.argument("name", required=False)
def main(name: str | None) -> None:
    """Runs the drill NAME; without one, lists them."""
    if name is None or name not in DRILLS:
        for known, (what, _) in DRILLS.items():
            click.echo(f"  {known:<22} {what}")
        raise SystemExit(64 if name else 0)
    try:
        with temporary_place() as place:
            stack = Stack(place, lambda text: click.echo(f"  {text}"), preferred={})
            run(lambda stop: _session(stack, name, stop))
    except ProcessError as error:
        complain(str(error))
        raise SystemExit(EX_SOFTWARE) from None


if __name__ == "__main__":
    main()
