from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

import broker_client as bc
from broker_client.client import pages
from tests.unit.broker_client.order_api import ORDER, ScriptedOrderApi, serving


@pytest.fixture
async def api() -> AsyncIterator[ScriptedOrderApi]:
    async with serving() as made:
        yield made


@pytest.fixture
async def broker(api: ScriptedOrderApi) -> AsyncIterator[bc.BrokerClient]:
    async with bc.BrokerClient(api.url, api_key="k", poll_s=0.001) as made:
        yield made


def order(status: str) -> bc.OrderView:
    return msgspec.convert({**ORDER, "status": status}, bc.OrderView)


async def test_an_order_that_the_venue_has_told_of_is_not_asked_for(
    api: ScriptedOrderApi, broker: bc.BrokerClient
) -> None:
    assert (await broker.wait_settled(order("pending"))).status == "pending"
    assert api.asked == []


@pytest.mark.parametrize("status", ["received", "submitted", "unknown", "presumed_absent"])
async def test_an_open_result_is_asked_for_until_the_venue_tells(
    api: ScriptedOrderApi, broker: bc.BrokerClient, status: str
) -> None:
    api.says(200, {**ORDER, "status": "unknown"})
    api.says(200, ORDER)
    assert (await broker.wait_settled(order(status))).status == "filled"
    assert [asked.target for asked in api.asked] == ["/v1/orders/01A", "/v1/orders/01A"]


async def test_an_order_that_stays_open_is_an_error_with_its_key(
    api: ScriptedOrderApi, broker: bc.BrokerClient
) -> None:
    api.says(200, {**ORDER, "status": "unknown"})
    with pytest.raises(bc.UnavailableError, match="the order 01A is still unknown") as caught:
        await broker.wait_settled(order("unknown"), deadline_s=0.05)
    assert caught.value.idempotency_key == "k"


async def test_pages_are_read_to_the_last(api: ScriptedOrderApi, broker: bc.BrokerClient) -> None:
    api.says(200, {"fills": [], "next": "c1"})
    api.says(200, {"fills": [], "next": None})
    found: list[Any] = [page.next async for page in pages(broker.list_past_fills, instrument="EUR_USD")]
    assert found == ["c1", None]
    assert api.asked[1].target == "/v1/history/fills?instrument=EUR_USD&cursor=c1"
