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
        ("scenario", {"liquidity": []}),
        ("scenario", {"liquidity": ["much"]}),
        ("scenario", {"liquidity": [-1]}),
        ("scenario", {"liquidity": 0.5}),
        ("scenario", {"liquidity": float("nan")}),
        ("account", {"transfer": "much"}),
        ("account", {"transfer": "-100000.01"}),
        ("account", {"transfer": "1e400"}),
        ("account", {"transfer": "1", "reason": "GIFT"}),
        ("account", {"account": "101-004-1234567-009"}),
        ("account", {"hedging": "yes"}),
        ("account", {"commission": "-1"}),
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


async def test_money_comes_and_goes_as_transactions(client: V20Client) -> None:
    await command(client, "POST", "account", {"transfer": "50000"})
    await command(client, "POST", "account", {"transfer": "-20000.5", "reason": "ADJUSTMENT"})

    entries = (await client.get("/transactions/sinceid?id=2&type=FUNDING"))["transactions"]
    assert [(entry["amount"], entry["fundingReason"], entry["accountBalance"]) for entry in entries] == [
        ("50000.0000", "CLIENT_FUNDING", "150000.0000"),
        ("-20000.5000", "ADJUSTMENT", "129999.5000"),
    ]
    assert (await client.get("/summary"))["account"]["balance"] == "129999.5000"


async def test_an_account_may_be_shown_as_hedging(client: V20Client) -> None:
    await command(client, "POST", "account", {"hedging": True})

    assert (await client.get("/summary"))["account"]["hedgingEnabled"] is True


async def test_a_commission_is_charged_beside_the_result(client: V20Client) -> None:
    await command(client, "POST", "account", {"commission": "50"})

    fill = (await client.order(units="10000"))["orderFillTransaction"]

    assert (fill["commission"], fill["pl"], fill["accountBalance"]) == ("0.5425", "0.0000", "99999.4575")
    assert (await client.get("/summary"))["account"]["commission"] == "0.5425"


async def test_liquidity_is_a_list_of_levels(client: V20Client) -> None:
    await command(client, "POST", "scenario", {"liquidity": [600, 400]})

    price = (await client.get("/pricing?instruments=EUR_USD"))["prices"][0]

    assert price["asks"] == [{"price": "1.08507", "liquidity": 600}, {"price": "1.08508", "liquidity": 400}]
    assert price["bids"] == [{"price": "1.08493", "liquidity": 600}, {"price": "1.08492", "liquidity": 400}]
