from __future__ import annotations

from typing import Any

import pytest

from broker.simulator.http.server import Simulator
from tests import v20_schema
from tests.v20_client import V20Client

READS = (
    "/v3/accounts",
    "",
    "/summary",
    "/instruments",
    "/instruments?instruments=EUR_USD,USD_JPY",
    "/changes?sinceTransactionID=1",
    "/orders",
    "/orders?state=ALL&count=3",
    "/orders?state=FILLED&instrument=EUR_USD",
    "/pendingOrders",
    "/trades",
    "/trades?state=ALL",
    "/openTrades",
    "/positions",
    "/openPositions",
    "/positions/EUR_USD",
    "/pricing?instruments=EUR_USD,USD_JPY&includeHomeConversions=true",
    "/transactions",
    "/transactions?pageSize=5&type=ORDER",
    "/transactions/1",
    "/transactions/idrange?from=1&to=4",
    "/transactions/sinceid?id=0",
    "/v3/instruments/EUR_USD/candles?count=10&granularity=M1&price=MBA",
    "/v3/instruments/EUR_USD/orderBook",
    "/v3/instruments/SPX500_USD/positionBook?time=2026-01-05T10:07:00Z",
)


async def trade_a_little(client: V20Client) -> None:
    protection: dict[str, Any] = {"takeProfitOnFill": {"price": "1.10000"}, "stopLossOnFill": {"price": "1.07000"}}
    await client.order(units="1000", clientExtensions={"id": "a", "tag": "t", "comment": "c"}, **protection)
    await client.order(units="500", trailingStopLossOnFill={"distance": "0.00500"})
    await client.order(type="LIMIT", price="1.08000", timeInForce="GTC", clientExtensions={"id": "limit"})
    await client.order(type="STOP", price="1.09000", timeInForce="GTC", priceBound="1.09100")
    await client.order(type="MARKET_IF_TOUCHED", price="1.08200", timeInForce="GFD")
    await client.order(instrument="USD_JPY", units="-700", guaranteedStopLossOnFill={"price": "160.000"})
    await client.order(units="-1200")


@pytest.mark.parametrize("path", READS)
async def test_a_read_is_as_published(client: V20Client, path: str) -> None:
    await trade_a_little(client)

    await client.get(path)


async def test_every_change_is_as_published(client: V20Client) -> None:
    await trade_a_little(client)
    trade = (await client.get("/openTrades"))["trades"][-1]["id"]
    limit = (await client.get("/orders/@limit"))["order"]["id"]

    await client.put(f"/orders/{limit}/clientExtensions", {"clientExtensions": {"tag": "other"}})
    replaced = await client.put(
        f"/orders/{limit}",
        {"order": {"type": "LIMIT", "instrument": "EUR_USD", "units": "200", "price": "1.07900"}},
        status=201,
    )
    await client.put(f"/orders/{replaced['orderCreateTransaction']['id']}/cancel")
    await client.put(f"/trades/{trade}/clientExtensions", {"clientExtensions": {"id": "trade"}})
    await client.put("/trades/@trade/orders", {"takeProfit": {"price": "1.20000"}, "stopLoss": None})
    await client.put("/trades/@trade/close", {"units": "100"})
    await client.put(f"/trades/{trade}/close")
    await client.put("/positions/USD_JPY/close", {"shortUnits": "ALL", "longUnits": "NONE"})

    await client.log()


async def test_every_refusal_is_as_published(client: V20Client) -> None:
    await client.order(units="0", status=400)
    await client.order(instrument="XXX_YYY", status=400)
    await client.order(type="TAKE_PROFIT", tradeID="77", price="1.2", status=404)
    await client.put("/orders/77", {"order": {"type": "LIMIT"}}, status=404)
    await client.put("/orders/@nobody/cancel", status=404)
    await client.put("/orders/77/clientExtensions", {"clientExtensions": {"id": "x"}}, status=404)
    await client.put("/trades/77/close", {"units": "5"}, status=404)
    await client.put("/trades/77/clientExtensions", {"clientExtensions": {"id": "x"}}, status=404)
    await client.put("/trades/77/orders", {}, status=404)
    await client.put("/positions/EUR_USD/close", {"longUnits": "ALL", "shortUnits": "NONE"}, status=404)
    await client.get("/positions/EUR_USD", status=404)
    await client.get("/orders/77", status=404)
    await client.get("/trades/77", status=404)
    await client.get("/transactions/77", status=404)
    await client.get("/transactions/sinceid?id=x", status=400)
    await client.get("/transactions/idrange?from=900&to=912", status=416)
    await client.get("/pricing", status=400)
    await client.get("/v3/instruments/EUR_USD/candles?from=-99999999999999", status=400)
    await client.get("/v3/instruments/EUR_USD/candles?to=-99999999999999", status=400)
    await client.get("/v3/instruments/XXX_YYY/orderBook", status=400)
    await client.get("/v3/instruments/EUR_USD/orderBook?time=soon", status=400)
    await client.get("/v3/instruments/EUR_USD/positionBook?time=2099-01-01T00:00:00Z", status=404)
    await client.get("/v3/instruments/EUR_USD/positionBook?time=-99999999999999", status=404)

    await client.log()


async def test_the_log_of_a_busy_account_is_as_published(simulator: Simulator, client: V20Client) -> None:
    await trade_a_little(client)
    simulator.venue.clock.move(86_400.0)
    for _ in range(20):
        simulator.venue.step()

    log = await client.log()

    assert {entry["type"] for entry in log} >= {"CREATE", "TRANSFER_FUNDS", "ORDER_FILL", "DAILY_FINANCING"}


async def test_times_come_as_unix_seconds_where_they_are_asked_for(client: V20Client) -> None:
    unix = (await client.get("/summary", headers={"Accept-Datetime-Format": "UNIX"}))["account"]["createdTime"]

    assert unix.partition(".")[0].isdecimal()
    assert len(unix.partition(".")[2]) == 9


def test_a_name_that_nobody_knows_is_a_fault() -> None:
    found = v20_schema.definition_faults("ClientExtensions", {"id": "x", "colour": "red"})

    assert found == ["$: Additional properties are not allowed ('colour' was unexpected)"]
