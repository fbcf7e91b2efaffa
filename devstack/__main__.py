"""`make run`: the whole stack on this machine, with a little order flow and a live status line."""

from __future__ import annotations

import asyncio
import os
import random
import re
import sys
import time
from collections.abc import Callable

import aiohttp
import click
from rich.console import Console
from rich.live import Live
from rich.text import Text

from devstack.flow import Flow
from devstack.process import ProcessError
from devstack.settings import temporary_place
from devstack.stack import Stack
from devstack.status import Reading, is_balanced, line, read, settle
from pod_runtime.run import complain, run

PLAIN_LINE_EVERY_S = 5.0
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def _seconds(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", value)
    if match is None:
        raise click.BadParameter(f"{value!r} is not a duration; write 30s, 5m or 1h")
    return float(match[1]) * _UNITS[match[2]]


@click.command()
@click.option("--orders-per-s", default=5.0, type=click.FloatRange(min=0.0, max=90.0), help="Order flow; 0 is none.")
@click.option("--for", "for_s", callback=_seconds, help="Run that long, then end with a summary: 30s, 5m.")
@click.option("--seed", default=1, help="Of the market and of the flow.")
def main(orders_per_s: float, for_s: float | None, seed: int) -> None:
    """Starts Vault, the simulator, the sidecar and the broker, and sends orders until Ctrl-C."""
    console = Console(highlight=False)
    try:
        with temporary_place() as place:
            stack = Stack(place, lambda text: console.print(f"  {text}"), seed)
            run(lambda stop: _session(stack, console, orders_per_s, for_s, stop))
    except ProcessError as error:
        complain(f"{error}\nlogs are kept in {place.state}")
        sys.exit(os.EX_SOFTWARE)


async def _session(
    stack: Stack, console: Console, orders_per_s: float, for_s: float | None, stop: asyncio.Event
) -> int:
    console.print("starting: Vault, simulator, collector; then sidecar; then broker")
    try:
        if await _started(stack, stop):
            _say_where(stack, console)
            await _flow(stack, console, orders_per_s, for_s, stop)
    finally:
        console.print("draining: broker, then sidecar, then the rest")
        ended = await stack.stop()
    if failed := {name: status for name, status in ended.items() if status != 0 and name in _OURS}:
        raise ProcessError(f"ended badly: {failed}")
    return 0


_OURS = ("broker", "sidecar", "simulator")


async def _started(stack: Stack, stop: asyncio.Event) -> bool:
    """True if all is up; False where the person gave up waiting."""
    starting = asyncio.ensure_future(stack.start())
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            return False
        starting.result()
        return True
    finally:
        for task in (starting, stopping):
            task.cancel()


def _say_where(stack: Stack, console: Console) -> None:
    where = stack.addresses
    rows = {
        "order API": f"{where['api']}/docs",
        "order page": f"{where['api']}/ui",
        "console": where["console"],
        "metrics": f"{where['metrics']}/metrics",
        "probes": f"{where['probes']}/readyz?verbose",
        "log records": str(stack.records_file),
        "API key": stack.api_key,
        "files": str(stack.place.state),
    }
    console.print(f"ready after {stack.ready_after_s:.1f} s\n")
    for name, value in rows.items():
        console.print(f"  {name:<12} {value}", soft_wrap=True)
    console.print("\nCtrl-C drains and ends\n")


async def _flow(stack: Stack, console: Console, orders_per_s: float, for_s: float | None, stop: asyncio.Event) -> None:
    flow = Flow(base_url=stack.addresses["api"], api_key=stack.api_key, chance=random.Random(stack.seed))
    async with aiohttp.ClientSession() as session:
        ended = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            if orders_per_s:
                tasks.create_task(flow.run(orders_per_s, ended))
            try:
                await _watch(stack, console, session, for_s, stop)
            finally:
                ended.set()
        reading = await settle(stack, session)
    _summarise(flow, reading, console)


async def _watch(
    stack: Stack, console: Console, session: aiohttp.ClientSession, for_s: float | None, stop: asyncio.Event
) -> None:
    began = time.monotonic()
    end = began + for_s if for_s is not None else float("inf")
    with _Line(console) as show:
        while not stop.is_set() and time.monotonic() < end:
            stack.check()
            show(line(await read(stack, session), began, time.monotonic(), for_s))
            try:
                await asyncio.wait_for(stop.wait(), min(1.0, max(0.0, end - time.monotonic())))
            except TimeoutError:
                continue


class _Line:
    """A line that changes on a terminal; elsewhere a plain line every few seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=4, transient=False) if console.is_terminal else None
        self._last = float("-inf")

    def __enter__(self) -> Callable[[str], None]:
        if self._live is not None:
            self._live.start()
        return self._show

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def _show(self, text: str) -> None:
        if self._live is not None:
            self._live.update(Text(text))
        elif time.monotonic() - self._last >= PLAIN_LINE_EVERY_S:
            self._last = time.monotonic()
            self._console.print(text, soft_wrap=True)


def _summarise(flow: Flow, reading: Reading, console: Console) -> None:
    answers = ", ".join(f"{count} {name}" for name, count in sorted(flow.tally.results.items())) or "none"
    console.print(f"\n{flow.tally.sent} orders sent; answers: {answers}")
    console.print(
        f"{reading.orders['received']} orders and {reading.orders['filled']} fills counted on /metrics, "
        f"{reading.exported} log records exported"
    )
    if not is_balanced(reading.status.get("ledger", {})):
        raise ProcessError(f"the ledger does not balance: {reading.status.get('ledger')}")
    console.print("ledger balances")


if __name__ == "__main__":
    main()
