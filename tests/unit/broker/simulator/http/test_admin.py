from __future__ import annotations

from typing import Any

import pytest

from broker.simulator.http.server import Simulator
from tests.unit.broker.simulator.commands import command, post
from tests.v20_client import V20Client


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("clock", {"seconds": -1}),
        ("clock", {"speed": 0}),
        ("clock", {"moon": 1}),
        ("scenario", {"scenario": "war"}),
        ("prices", {"instrument": "XXX_YYY", "mid": "1"}),
        ("prices", {"instrument": "EUR_USD", "mid": "x"}),
        ("tokens", {"accept": [1]}),
        ("tokens", [1]),
    ],
)
async def test_a_command_that_cannot_be_followed_is_refused(client: V20Client, path: str, body: Any) -> None:
    status, answer = await command(client, "POST", path, body)

    assert status == 400
    assert answer["errorMessage"]


async def test_tokens_change_from_the_next_request_on(simulator: Simulator, client: V20Client) -> None:
    await command(client, "POST", "tokens", {"accept": ["new"], "revoke": [simulator.token]})

    await client.get("/summary", status=401)
    async with V20Client(simulator.rest_url, "new") as renewed:
        await renewed.get("/summary")


async def test_what_came_is_listed(client: V20Client) -> None:
    await post(client, None)
    await post(client, "error_before")

    _, answer = await command(client, "GET", "requests")

    seen = [(item["method"], item["status"], item["fault"]) for item in answer["requests"]]
    assert seen == [("POST", 201, None), ("POST", 500, "error_before")]


async def test_a_weekend_halts_the_market(client: V20Client) -> None:
    await command(client, "POST", "scenario", {"scenario": "weekend"})

    price = (await client.get("/pricing?instruments=EUR_USD"))["prices"][0]

    assert (price["tradeable"], price["status"]) == (False, "non-tradeable")
