from __future__ import annotations

import asyncio
import random
from collections import Counter
from http import HTTPStatus
from typing import Any

import aiohttp
import pytest

from devstack.configuration import ACCOUNT
from devstack.flow import Flow
from devstack.stack import Stack
from devstack.status import settle
from tests.e2e.stack_fixture import running_stack
from tests.otlp_receiver import OtlpReceiver

pytestmark = [pytest.mark.real, pytest.mark.slow]
ORDERS = 200


async def venue_transactions(stack: Stack, session: aiohttp.ClientSession) -> list[dict[str, Any]]:
    token = (stack.place.state / "simulator-token").read_text()
    url = f"{stack.addresses['simulator']}/v3/accounts/{ACCOUNT}/transactions/sinceid"
    async with session.get(url, params={"id": "0"}, headers={"Authorization": f"Bearer {token}"}) as answer:
        return list((await answer.json())["transactions"])


async def orders_of_api(stack: Stack, session: aiohttp.ClientSession, ids: list[str]) -> dict[str, dict[str, Any]]:
    return {order_id: await order_of_api(stack, session, order_id) for order_id in ids}


async def order_of_api(stack: Stack, session: aiohttp.ClientSession, order_id: str) -> dict[str, Any]:
    """The order; waits where the key's quota says so, which the orders before have used up."""
    url = f"{stack.addresses['api']}/v1/orders/{order_id}"
    while True:
        async with session.get(url, headers={"X-API-Key": stack.api_key}) as answer:
            if answer.status != HTTPStatus.TOO_MANY_REQUESTS:
                assert answer.status == HTTPStatus.OK, await answer.text()
                return dict(await answer.json())
            await asyncio.sleep(float(answer.headers["Retry-After"]))


async def test_counters_records_venue_and_answers_agree_one_for_one() -> None:
    async with OtlpReceiver() as receiver, running_stack(otlp_endpoint=receiver.endpoint) as stack:
        flow = Flow(base_url=stack.addresses["api"], api_key=stack.api_key, chance=random.Random(7))
        await flow.send(ORDERS)
        async with aiohttp.ClientSession() as session:
            reading = await settle(stack, session, deadline_s=15)
            answers = await orders_of_api(stack, session, list(flow.tally.placed))
            transactions = await venue_transactions(stack, session)

    assert len(answers) == ORDERS
    filled = {order_id for order_id, order in answers.items() if order["status"] == "filled"}
    assert filled

    venue_fills = {item["id"]: item["orderID"] for item in transactions if item["type"] == "ORDER_FILL"}
    api_fills = {
        fill["transaction_id"]: order["venue_order_id"] for order in answers.values() for fill in order["fills"]
    }
    assert api_fills == venue_fills

    transitions = [item for item in receiver.records if item["event_name"] == "broker.order.transition"]
    uids = [item["attributes"]["log.record.uid"] for item in transitions]
    assert len(uids) == len(set(uids))
    by_status = Counter(item["attributes"]["status"] for item in transitions)
    assert dict(reading.orders) == {**dict.fromkeys(reading.orders, 0), **by_status}

    last = {item["attributes"]["order_id"]: item["attributes"]["status"] for item in transitions}
    assert last == {order_id: order["status"] for order_id, order in answers.items()}
    assert by_status["received"] == ORDERS
    logged_fills = [item for item in receiver.records if item["event_name"] == "broker.order.filled"]
    assert {item["attributes"]["transaction_id"] for item in logged_fills} == set(venue_fills)
    assert len(logged_fills) == len(venue_fills)
