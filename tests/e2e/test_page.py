from __future__ import annotations

import os
import time
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.scenario import Client, Venue
from tests.e2e.stack_fixture import running_stack
from tests.integration.monitoring.alerting import running_alertmanager
from tests.integration.monitoring.prometheus import POD, as_shipped, quick, running_prometheus

pytestmark = [pytest.mark.real, pytest.mark.slow]


AS_SHIPPED = os.environ.get("PAGE_TIMERS") == "shipped"
"""Five minutes instead of half of one: the timers of production."""
WAIT_S = 600.0 if AS_SHIPPED else 20.0
TIMERS = "as shipped: 15 s scrape and evaluation, `for` 1 m, group_wait 15 s" if AS_SHIPPED else "1 s each"


@pytest.mark.timeout(1200 if AS_SHIPPED else 900)
async def test_a_fault_at_the_venue_pages_and_its_end_resolves(tmp_path: Path) -> None:
    async with (
        running_stack() as stack,
        running_alertmanager(tmp_path, quick=not AS_SHIPPED) as alertmanager,
        running_prometheus(
            tmp_path / "prometheus",
            {
                stack.addresses["metrics"].removeprefix("http://"): POD,
                stack.addresses["api"].removeprefix("http://"): {**POD, "job": "broker-api"},
            },
            alertmanager=alertmanager.url,
            rules=as_shipped() if AS_SHIPPED else quick(),
            every="15s" if AS_SHIPPED else "1s",
        ) as prometheus,
        aiohttp.ClientSession() as session,
    ):
        venue, client = Venue(stack, session), Client(stack, session)
        await client.wait_prices()
        await prometheus.wait("broker_orders_unknown == 0")

        await venue.fault("lag", method="GET", count=-1, seconds=600)
        await venue.fault("stream_stall", path="/transactions", count=-1, seconds=20)
        await venue.fault("reset_after", method="POST", path="/orders")
        began = time.monotonic()
        assert (await client.order("lost"))["status"] == "unknown"
        await alertmanager.inbox.wait(lambda inbox: any(map(is_ours, inbox.events("trigger"))), deadline_s=WAIT_S)
        paged = time.monotonic() - began

        await venue.heal()
        healed = time.monotonic()
        await alertmanager.inbox.wait(lambda inbox: any(map(is_ours, inbox.events("resolve"))), deadline_s=WAIT_S)
        resolved = time.monotonic() - healed
    (event,) = filter(is_ours, alertmanager.inbox.events("trigger"))
    assert event["payload"]["summary"] == "[broker] OrdersUnknown: 1 orders have no known outcome"
    ended = [item for item in alertmanager.inbox.events("resolve") if is_ours(item)]
    assert {item["dedup_key"] for item in ended} == {event["dedup_key"]}
    print(
        f"from the lost answer to the page {paged:.1f} s, from the end of the fault to the resolve {resolved:.1f} s;"
        f" timers {TIMERS}"
    )


def is_ours(event: dict[str, dict[str, str]]) -> bool:
    return event["payload"]["class"] == "OrdersUnknown"
