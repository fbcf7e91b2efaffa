from __future__ import annotations

import aiohttp

from broker.simulator.http.server import Simulator
from tests.v20_client import V20Client


async def test_a_dead_token_is_a_401_without_a_code(simulator: Simulator) -> None:
    async with V20Client(simulator.rest_url, "dead") as stranger:
        body = await stranger.get("/summary", status=401)

    assert body == {"errorMessage": "Insufficient authorization to perform request."}


async def test_an_account_of_somebody_else_is_forbidden(simulator: Simulator) -> None:
    async with V20Client(simulator.rest_url, simulator.token, account="101-004-7654321-001") as client:
        await client.get("/summary", status=403)


async def test_more_requests_than_allowed_are_a_429() -> None:
    async with (
        Simulator(requests_per_s=3, ticks_per_s=0) as simulator,
        V20Client(simulator.rest_url, simulator.token) as client,
    ):
        for _ in range(3):
            await client.get("/summary")
        await client.get("/summary", status=429)


async def test_more_connections_than_allowed_are_cut() -> None:
    async with Simulator(connections_per_s=2, ticks_per_s=0) as simulator:
        outcomes = []
        for _ in range(3):
            async with V20Client(simulator.rest_url, simulator.token) as client:
                try:
                    await client.get("/summary")
                    outcomes.append("answered")
                except aiohttp.ServerDisconnectedError:
                    outcomes.append("cut")

    assert outcomes == ["answered", "answered", "cut"]


async def test_the_request_id_of_an_answer_is_its_transactions(simulator: Simulator, client: V20Client) -> None:
    headers = {"Authorization": f"Bearer {simulator.token}"}
    url = f"{simulator.rest_url}/v3/accounts/{client.account}/orders"
    order = {"type": "MARKET", "instrument": "EUR_USD", "units": "-1"}
    async with client.session.post(url, json={"order": order}, headers=headers) as answer:
        body = await answer.json()

        assert body["orderCreateTransaction"]["requestID"] == answer.headers["RequestID"]
        assert body["relatedTransactionIDs"] == ["3", "4"]
        assert body["lastTransactionID"] == "4"
