"""What a client may set of its account."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from broker.simulator.http.server import Simulator
from tests.v20_client import V20Client


async def configure(client: V20Client, body: Any, status: int = 200) -> Any:
    return await client.call("PATCH", "/configuration", body, status=status)


async def test_an_alias_shows_in_the_summary_and_is_a_transaction(client: V20Client) -> None:
    answer = await configure(client, {"alias": "Scalping"})

    assert (await client.get("/summary"))["account"]["alias"] == "Scalping"
    entry = answer["clientConfigureTransaction"]
    assert (entry["type"], entry["alias"], "marginRate" in entry) == ("CLIENT_CONFIGURE", "Scalping", False)
    assert await client.log(2) == [entry]
    assert answer["lastTransactionID"] == "3"


async def test_a_margin_rate_counts_for_what_is_open_and_what_comes(client: V20Client) -> None:
    await client.order(units="10000")

    await configure(client, {"marginRate": "0.1"})

    account = (await client.get("/summary"))["account"]
    assert account["marginRate"] == "0.1"
    assert account["marginUsed"] == "1085.0000"
    refused = await client.order(units="1000000")
    assert refused["orderCancelTransaction"]["reason"] == "INSUFFICIENT_MARGIN"


async def test_an_instrument_may_need_more_margin_than_the_account(client: V20Client) -> None:
    await client.order(units="10000")
    await configure(client, {"marginRate": "0.02"})

    assert Decimal((await client.get("/summary"))["account"]["marginUsed"]) == Decimal("361.3050")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "CLIENT_CONFIGURE_DATA_MISSING"),
        ({"marginRate": "0"}, "MARGIN_RATE_INVALID"),
        ({"marginRate": "1.5"}, "MARGIN_RATE_INVALID"),
        ({"marginRate": "0.5"}, "MARGIN_RATE_WOULD_TRIGGER_MARGIN_CALL"),
        ({"marginRate": "1", "alias": "never"}, "MARGIN_RATE_WOULD_TRIGGER_CLOSEOUT"),
    ],
)
async def test_a_refused_configuration_changes_nothing_and_is_a_transaction(
    client: V20Client, body: dict[str, str], reason: str
) -> None:
    await client.order(units="190000")
    before = (await client.get("/summary"))["account"]

    answer = await configure(client, body, 400)

    assert answer["errorCode"] == reason
    assert answer["clientConfigureRejectTransaction"]["rejectReason"] == reason
    after = (await client.get("/summary"))["account"]
    assert after == before | {"lastTransactionID": after["lastTransactionID"]}
    kinds = [entry["type"] for entry in (await client.get("/transactions/sinceid?id=4&type=ADMIN"))["transactions"]]
    assert kinds == ["CLIENT_CONFIGURE_REJECT"]


@pytest.mark.parametrize("body", [[], {"alias": 7}, {"marginRate": "much"}, {"marginRate": True}])
async def test_a_configuration_that_cannot_be_read_leaves_no_transaction(client: V20Client, body: Any) -> None:
    answer = await configure(client, body, 400)

    assert answer["errorCode"] == "oanda::rest::core::InvalidParameterException"
    assert await client.log(2) == []


async def test_a_stream_tells_of_a_configuration(simulator: Simulator, client: V20Client) -> None:
    url = f"{simulator.stream_url}/v3/accounts/{simulator.account}/transactions/stream"
    async with client.session.get(url) as stream:
        await configure(client, {"alias": "Told"})
        lines = [line async for line in _until(stream, b"CLIENT_CONFIGURE")]
    assert b'"alias":"Told"' in lines[-1]


async def _until(stream: Any, word: bytes) -> Any:
    async for line in stream.content:
        yield line
        if word in line:
            return
