"""`make bluegreen`: ten swaps of two colours under steady orders, one aborted; nothing fails, doubles or is lost.

Real processes behind a local proxy. A colour is a sidecar and a broker with journals of their own; both share the
account's ownership and order journal, as processes of one machine do. What Argo Rollouts does in a cluster is done
here by hand: a preview must be ready and pass the smoke check, promotion changes the pods' labels, the proxy follows
them, the former colour hands the account over and is scaled down.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import click
from prometheus_client.parser import text_string_to_metric_families

from devstack import configuration
from devstack.flow import Flow
from devstack.process import Child, ProcessError, start, wait_event
from devstack.proxy import Proxy
from devstack.settings import Place, temporary_place, write
from devstack.stack import Stack
from pod_runtime.run import complain, run

LABEL = "broker.role/colour"
READY_S, BROKEN_READY_S, OWNED_S = 30.0, 8.0, 20.0
SETTLE_S = 1.0
IN_FLIGHT = 1000
"""Orders that may wait for an answer: twice what a hand-over at 60/s holds back."""
LEAST_SHARE = 0.99
"""Of the rate asked for that must have been sent."""


@dataclass(slots=True)
class Colour:
    """A sidecar and a broker, with a file of labels as the kubelet writes it."""

    name: str
    place: Place
    stack: Stack
    children: dict[str, Child] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    counted: Counter[str] = field(default_factory=Counter)
    """Orders by status as its metrics last said."""
    reasons: str = ""
    """Last answer of its readiness probe."""

    @property
    def labels(self) -> Path:
        """The downwardAPI file."""
        return self.place.state / "labels"

    def label(self, role: str) -> None:
        """Says which role the pod has."""
        self.labels.write_text(f'app="broker"\n{LABEL}="{role}"\n')

    async def start_sidecar(self) -> None:
        """Starts the sidecar and waits until it listens."""
        table = configuration.sidecar(self.place, self.stack.addresses, self.stack.otlp_endpoint, lambda _: 0)
        found = await self._run("sidecar", table)
        self.addresses |= {name: f"http://{found[name]}" for name in ("probes", "metrics")}

    async def start_broker(self, venue: Mapping[str, Any]) -> None:
        """Starts the broker with changes to the section `venue`."""
        table = configuration.broker(self.place, self.stack.addresses, lambda _: 0)
        shared = self.stack.place.state / "broker"
        table["venue"] |= venue
        table["orders"] = {
            "directory": str(shared / "orders"),
            "colour_file": str(self.labels),
            "standby_ready": True,
            "lease_s": 5.0,
        }
        table["history"] = {"url": f"sqlite+aiosqlite:///{shared / 'history.sqlite'}"}
        self.addresses["api"] = f"http://{(await self._run('broker', table))['api']}"

    async def _run(self, process: str, table: Mapping[str, Any]) -> dict[str, Any]:
        path = write(self.place.state / f"{process}.toml", table)
        log = self.place.state / f"{process}.log"
        log.unlink(missing_ok=True)
        command = [sys.executable, "-m", process, "--config", str(path)]
        child = await start(process, command, directory=self.place.state, environ=self.stack.environ())
        self.children[process] = child
        return await wait_event(child, "listening", READY_S)

    async def stop(self) -> None:
        """Drains the broker, then the sidecar.

        Raises:
            ProcessError: one of them did not end with 0.
        """
        for name in ("broker", "sidecar"):
            child = self.children.pop(name, None)
            if child is not None and (code := await child.stop(30.0)) != 0:
                raise ProcessError(f"{name} of {self.name} ended with {code}:\n{child.last_lines()}")

    async def is_ready(self, session: aiohttp.ClientSession) -> bool:
        """Answer of the kubelet's readiness probe."""
        try:
            async with session.get(f"{self.addresses['probes']}/readyz?verbose") as answer:
                self.reasons = await answer.text()
                return answer.status == 200  # noqa: PLR2004 - HTTP's OK
        except aiohttp.ClientError as error:
            self.reasons = str(error)
            return False

    async def count(self, session: aiohttp.ClientSession) -> None:
        """Reads the counter of orders.

        Raises:
            ProcessError: it went back.
        """
        async with session.get(f"{self.addresses['metrics']}/metrics") as answer:
            text = await answer.text()
        found: Counter[str] = Counter()
        for family in text_string_to_metric_families(text):
            for sample in family.samples if family.name == "broker_orders" else ():
                found[sample.labels["status"]] += int(sample.value)
        if back := {
            name: (self.counted[name], found[name]) for name in self.counted if found[name] < self.counted[name]
        }:
            raise ProcessError(f"counters of {self.name} went back: {back}")
        self.counted = found


@dataclass(slots=True)
class Show:
    """The swaps, and the flow of orders meanwhile."""

    stack: Stack
    proxy: Proxy
    colours: list[Colour]
    session: aiohttp.ClientSession
    slowest_s: float = 0.0
    took_s: float = 0.0
    """For how long orders were sent."""

    @property
    def reasons(self) -> str:
        """Answer of the readiness probe of the last preview."""
        return self.colours[1].reasons

    async def first(self) -> None:
        """The first colour comes up active."""
        blue = self.colours[0]
        blue.label("active")
        await self._up(blue, {}, READY_S)
        await self._until_owner(blue)
        self.proxy.active = blue.addresses["api"]

    async def swap(self, *, venue: Mapping[str, Any]) -> bool:
        """One swap; whether it was promoted. `venue` breaks the preview's configuration, if anything."""
        former, new = self.colours
        new.label("preview")
        deadline_s = BROKEN_READY_S if venue else READY_S
        if not (await self._up(new, venue, deadline_s) and await self._smoke(new)):
            await new.stop()
            return False
        began = time.monotonic()
        former.label("preview")
        new.label("active")
        self.proxy.active = new.addresses["api"]
        await self._until_owner(new)
        self.slowest_s = max(self.slowest_s, time.monotonic() - began)
        await asyncio.sleep(SETTLE_S)
        await former.count(self.session)
        await new.count(self.session)
        await former.stop()
        self.colours.reverse()
        return True

    async def _up(self, colour: Colour, venue: Mapping[str, Any], deadline_s: float) -> bool:
        await colour.start_sidecar()
        await colour.start_broker(venue)
        end = time.monotonic() + deadline_s
        while time.monotonic() < end:
            if await colour.is_ready(self.session):
                return True
            await asyncio.sleep(0.05)
        return False

    async def _smoke(self, preview: Colour) -> bool:
        """The command that the pre-promotion analysis runs: orders that are tried and not sent."""
        key = self.stack.place.state / "api-key"
        key.write_text(self.stack.api_key)
        url = preview.addresses["api"]
        command = [sys.executable, "-m", "broker", "smoke", "--preview", "--url", url, "--key-file", str(key)]
        child = await start("smoke", command, directory=self.stack.place.state, environ=self.stack.environ())
        return await child.process.wait() == 0

    async def _until_owner(self, colour: Colour) -> None:
        end = time.monotonic() + OWNED_S
        headers = {"X-API-Key": self.stack.api_key}
        while time.monotonic() < end:
            async with self.session.get(f"{colour.addresses['api']}/v1/admin/conditions", headers=headers) as answer:
                found = (await answer.json())["conditions"]
            if any(item["name"] == "Ownership" and item["ok"] for item in found):
                return
            await asyncio.sleep(0.02)
        raise ProcessError(f"{colour.name} did not get the account:\n{colour.children['broker'].last_lines()}")


@click.command()
@click.option("--swaps", default=10, type=click.IntRange(min=2), help="How many; the last but one gets a bad preview.")
@click.option("--orders-per-s", default=50.0, type=click.FloatRange(min=1.0, max=60.0))
def main(swaps: int, orders_per_s: float) -> None:
    """Swaps colours under load and checks every order at the venue."""
    failed = False
    try:
        with temporary_place() as place:
            run(lambda stop: _session(place, swaps, orders_per_s, stop))
    except* ProcessError as group:
        complain(f"{group.exceptions[0]}\nlogs are kept in {place.state}")
        failed = True
    if failed:
        sys.exit(os.EX_SOFTWARE)


async def _session(place: Place, swaps: int, orders_per_s: float, stop: asyncio.Event) -> int:
    stack = Stack(place, click.echo, preferred={})
    timeout = aiohttp.ClientTimeout(total=10)
    try:
        await stack.start_surroundings()
        async with aiohttp.ClientSession(timeout=timeout) as session, Proxy() as proxy:
            colours = [_colour(stack, name) for name in ("blue", "green")]
            show = Show(stack, proxy, colours, session)
            try:
                flow = await _run_swaps(show, swaps, orders_per_s, stop)
                await _check(show, flow, orders_per_s)
            finally:
                for colour in colours:
                    for child in colour.children.values():
                        await child.stop(10.0)
    finally:
        await stack.stop()
    return 0


def _colour(stack: Stack, name: str) -> Colour:
    place = replace(stack.place, state=stack.place.state / name, memory=stack.place.memory / name)
    place.make()
    for file in ("role-id", "secret-id"):
        (place.vault / file).symlink_to(stack.place.vault / file)
    return Colour(name, place, stack)


async def _run_swaps(show: Show, swaps: int, orders_per_s: float, stop: asyncio.Event) -> Flow:
    await show.first()
    chance = random.Random(1)
    flow = Flow(base_url=show.proxy.url, api_key=show.stack.api_key, chance=chance, in_flight=IN_FLIGHT)
    ended, began = asyncio.Event(), time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(flow.run(orders_per_s, ended))
        try:
            for number in range(1, swaps + 1):
                await asyncio.sleep(SETTLE_S)
                is_bad = number == swaps - 1
                # Nobody listens there: the preview has no contact with its venue, and never becomes ready.
                venue = {"rest_url": "http://127.0.0.1:9", "stream_url": "http://127.0.0.1:9"} if is_bad else {}
                promoted = await show.swap(venue=venue)
                if promoted == is_bad:
                    kind = "bad" if is_bad else "good"
                    raise ProcessError(f"swap {number}: promoted {promoted}, with a {kind} preview: {show.reasons}")
                what = "promoted" if promoted else "aborted, as its preview was bad"
                click.echo(f"swap {number:2}: {what}; {flow.tally.sent} orders so far")
                if stop.is_set():
                    break
        finally:
            show.took_s = time.monotonic() - began
            ended.set()
    return flow


async def _check(show: Show, flow: Flow, orders_per_s: float) -> None:
    """Compares callers' answers, the venue's log and both colours' counters.

    Raises:
        ProcessError: they do not agree.
    """
    active, former = show.colours
    await former.start_sidecar()
    placed = await _venue_orders(show)
    end = time.monotonic() + 10
    while True:
        for colour in (active, former):
            await colour.count(show.session)
        counted = active.counted["received"] + former.counted["received"]
        if counted == flow.tally.sent or time.monotonic() > end:
            break
        await asyncio.sleep(0.2)
    good = sum(flow.tally.results[name] for name in ("filled", "partially_filled", "pending", "cancelled"))
    doubled = sum(count - 1 for count in placed.values())
    figures = {
        "sent": flow.tally.sent,
        "failed": flow.tally.sent - good,
        "at the venue": len(placed),
        "doubled": doubled,
        "lost": len(set(flow.tally.placed) - {name.split(".")[3] for name in placed}),
        "counted": counted,
    }
    rate = flow.tally.sent / show.took_s
    click.echo(f"{figures}; slowest hand-over {show.slowest_s:.2f} s; proxy sent {show.proxy.again} requests again")
    click.echo(
        f"{rate:.1f} orders/s over {show.took_s:.0f} s; latest {flow.tally.latest_s * 1000:.0f} ms after its beat; "
        f"at most {flow.tally.most_in_flight} in flight"
    )
    if rate < orders_per_s * LEAST_SHARE:
        raise ProcessError(f"{rate:.1f} orders/s were sent, {orders_per_s:g} were asked for")
    expected = {"failed": 0, "doubled": 0, "lost": 0, "counted": flow.tally.sent, "at the venue": flow.tally.sent}
    if wrong := {name: figures[name] for name, value in expected.items() if figures[name] != value}:
        raise ProcessError(f"not as it must be: {wrong}; answers {dict(flow.tally.results)}")


async def _venue_orders(show: Show) -> Counter[str]:
    """Number of times that the venue has each of our client ids, of its whole log."""
    token = (show.stack.place.state / "simulator-token").read_text()
    url = f"{show.stack.addresses['simulator']}/v3/accounts/{configuration.ACCOUNT}/transactions/sinceid"
    found: Counter[str] = Counter()
    last, headers = "0", {"Authorization": f"Bearer {token}"}
    while True:
        async with show.session.get(url, params={"id": last}, headers=headers) as answer:
            page = (await answer.json())["transactions"]
        if not page:
            return found
        last = page[-1]["id"]
        for item in page:
            if item["type"] in ("MARKET_ORDER", "LIMIT_ORDER"):
                found[item["clientExtensions"]["id"]] += 1


if __name__ == "__main__":
    main()
