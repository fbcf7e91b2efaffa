"""`python -m devstack.capacity`: what one pod's telemetry takes, measured on a stack that trades.

Prints series and bytes of a scrape, log records and bytes per order, and what that makes at a rate of orders.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import aiohttp
import click

from devstack.flow import Flow
from devstack.settings import temporary_place
from devstack.stack import Stack
from devstack.status import settle
from pod_runtime.run import run

ORDERS = 1000
SECONDS_A_DAY = 86_400


@click.command()
@click.option("--orders-per-s", default=50.0, type=click.FloatRange(min=0.1))
def main(orders_per_s: float) -> None:
    """Places a thousand orders on a local stack and prints the capacity sheet's figures."""
    with temporary_place() as place:
        stack = Stack(place, lambda _: None, preferred={})
        sys.exit(run(lambda _: _measure(stack, orders_per_s)))


async def _measure(stack: Stack, orders_per_s: float) -> int:
    try:
        await stack.start()
        flow = Flow(base_url=stack.addresses["api"], api_key=stack.api_key, chance=random.Random(1))
        before = _size(stack.records_file)
        await flow.send(ORDERS)
        async with aiohttp.ClientSession() as session:
            reading = await settle(stack, session)
            page = await _scraped(session, stack.addresses["metrics"])
            own = await _scraped(session, stack.addresses["api"])
        records, size = (now - then for now, then in zip(_size(stack.records_file), before, strict=True))
        orders = reading.orders["received"]
        _print(page, own, (records / orders, size / orders), orders_per_s)
    finally:
        await stack.stop()
    return 0


def _size(path: Path) -> tuple[int, int]:
    """Lines and bytes."""
    data = path.read_bytes() if path.exists() else b""
    return data.count(b"\n"), len(data)


async def _scraped(session: aiohttp.ClientSession, address: str) -> str:
    async with session.get(f"{address}/metrics") as answer:
        return await answer.text()


def _series(page: str) -> int:
    return sum(1 for line in page.splitlines() if line and not line.startswith("#"))


def _print(page: str, own: str, order: tuple[float, float], orders_per_s: float) -> None:
    """`page` is the sidecar's, `own` that of the broker's process; `order` is records and bytes of logs an order."""
    records, size = order
    rows = {
        "series of one pod": f"{_series(page)}",
        "series of the broker's process besides": f"{_series(own)}",
        "bytes of one scrape": f"{len(page.encode())}",
        "log records per order": f"{records:.2f}",
        "log bytes per order, as JSON": f"{size:.0f}",
        f"log records/s at {orders_per_s:g} orders/s": f"{records * orders_per_s:.0f}",
        f"log GB a day at {orders_per_s:g} orders/s": f"{size * orders_per_s * SECONDS_A_DAY / 1e9:.1f}",
    }
    for name, value in rows.items():
        click.echo(f"{name:<40} {value}")


if __name__ == "__main__":
    main()
