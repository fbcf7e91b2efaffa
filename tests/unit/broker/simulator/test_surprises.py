"""Surprises of the venue: each as recorded or documented, so that the adapter is tested against it."""

from __future__ import annotations

import re
from decimal import Decimal

from broker.simulator.http.server import Simulator
from broker.simulator.market.market import Scenario
from tests.v20_client import V20Client


async def test_the_same_client_id_fills_twice(client: V20Client) -> None:
    first = await client.order(clientExtensions={"id": "same"})
    second = await client.order(clientExtensions={"id": "same"})

    assert first["orderFillTransaction"]["id"] != second["orderFillTransaction"]["id"]
    assert [entry["type"] for entry in await client.log(2)] == ["MARKET_ORDER", "ORDER_FILL"] * 2


async def test_a_client_id_is_taken_only_while_its_order_waits(client: V20Client) -> None:
    await client.order(type="LIMIT", price="1.00000", clientExtensions={"id": "mine"})

    refused = await client.order(clientExtensions={"id": "mine"}, status=400)
    await client.put("/orders/@mine/cancel")

    assert refused["errorCode"] == "CLIENT_ORDER_ID_ALREADY_EXISTS"
    assert "orderFillTransaction" in await client.order(clientExtensions={"id": "mine"})


async def test_an_order_is_found_by_client_id_only_while_it_waits(client: V20Client) -> None:
    await client.order(type="LIMIT", price="1.00000", clientExtensions={"id": "mine"})
    await client.order(clientExtensions={"id": "filled"})

    assert (await client.get("/orders/@mine"))["order"]["state"] == "PENDING"
    assert (await client.get("/orders/@filled", status=404))["errorCode"] == "NO_SUCH_ORDER"


async def test_a_killed_order_is_a_201_that_cancels(simulator: Simulator, client: V20Client) -> None:
    killed = await client.order(priceBound="1.08000")
    poor = await client.order(units="90000000")
    simulator.venue.market.scenario = Scenario.WEEKEND
    simulator.venue.step()
    halted = await client.order()

    reasons = [answer["orderCancelTransaction"]["reason"] for answer in (killed, poor, halted)]
    assert reasons == ["BOUNDS_VIOLATION", "INSUFFICIENT_LIQUIDITY", "MARKET_HALTED"]
    assert all("orderFillTransaction" not in answer for answer in (killed, poor, halted))


async def test_a_large_order_lacks_margin(client: V20Client) -> None:
    answer = await client.order(units="9000000")

    assert answer["orderCancelTransaction"]["reason"] == "INSUFFICIENT_MARGIN"


async def test_an_immediate_order_fills_in_part(simulator: Simulator, client: V20Client) -> None:
    simulator.venue.market.liquidity = (40,)
    simulator.venue.step()

    fill = (await client.order(units="100", timeInForce="IOC"))["orderFillTransaction"]

    assert (fill["units"], fill["requestedUnits"]) == ("40", "100")


async def test_a_market_order_knows_only_fok_and_ioc(client: V20Client) -> None:
    refused = await client.order(timeInForce="GTC", status=400)

    assert refused["errorCode"] == refused["orderRejectTransaction"]["rejectReason"] == "TIME_IN_FORCE_INVALID"


async def test_an_unknown_instrument_leaves_no_transaction(client: V20Client) -> None:
    refused = await client.order(instrument="XXX_YYY", status=400)

    assert refused["errorCode"] == "oanda::rest::core::InvalidParameterException"
    assert [entry["type"] for entry in await client.log()] == ["CREATE", "TRANSFER_FUNDS"]


async def test_too_many_places_are_refused(client: V20Client) -> None:
    price = await client.order(type="LIMIT", price="1.0800001", status=400)
    units = await client.order(units="1.5", status=400)
    long_id = await client.order(clientExtensions={"id": "x" * 129}, status=400)

    assert [item["errorCode"] for item in (price, units, long_id)] == [
        "PRICE_PRECISION_EXCEEDED",
        "UNITS_PRECISION_EXCEEDED",
        "CLIENT_ORDER_ID_INVALID",
    ]


async def test_a_second_cancel_is_a_404_that_proves_nothing(client: V20Client) -> None:
    order = (await client.order(type="LIMIT", price="1.00000"))["orderCreateTransaction"]["id"]
    await client.put(f"/orders/{order}/cancel")

    second = await client.put(f"/orders/{order}/cancel", status=404)

    assert second["errorCode"] == "ORDER_DOESNT_EXIST"
    assert second["orderCancelRejectTransaction"]["orderID"] == order


async def test_all_may_be_asked_only_of_the_side_that_exists(client: V20Client) -> None:
    await client.get("/positions/EUR_USD", status=404)
    await client.order(units="100")

    wrong = await client.put("/positions/EUR_USD/close", {"longUnits": "NONE", "shortUnits": "ALL"}, status=400)
    right = await client.put("/positions/EUR_USD/close", {"longUnits": "ALL", "shortUnits": "NONE"})
    flat = await client.get("/positions/EUR_USD")
    again = await client.put("/positions/EUR_USD/close", {"longUnits": "ALL", "shortUnits": "NONE"}, status=404)

    assert wrong["errorCode"] == again["errorCode"] == "CLOSEOUT_POSITION_DOESNT_EXIST"
    assert right["longOrderFillTransaction"]["reason"] == "MARKET_ORDER_POSITION_CLOSEOUT"
    assert flat["position"]["long"]["units"] == "0"


async def test_liquidity_is_a_number_in_prices_and_a_text_in_fills(client: V20Client) -> None:
    price = (await client.get("/pricing?instruments=EUR_USD"))["prices"][0]
    fill = (await client.order())["orderFillTransaction"]

    assert price["bids"][0] == {"price": "1.08493", "liquidity": 10_000_000}
    assert fill["fullPrice"]["asks"][0] == {"price": "1.08507", "liquidity": "10000000"}


async def test_prices_come_at_the_precision_of_the_instrument(client: V20Client) -> None:
    prices = (await client.get("/pricing?instruments=EUR_USD,USD_JPY"))["prices"]

    assert re.fullmatch(r"\d\.\d{5}", prices[0]["bids"][0]["price"])
    assert re.fullmatch(r"\d{3}\.\d{3}", prices[1]["bids"][0]["price"])


async def test_a_replaced_order_names_its_successor(client: V20Client) -> None:
    old = (await client.order(type="LIMIT", price="1.00000", clientExtensions={"id": "a"}))["orderCreateTransaction"]
    order = {
        "type": "LIMIT",
        "instrument": "EUR_USD",
        "units": "7",
        "price": "1.01000",
        "clientExtensions": {"id": "a"},
    }

    answer = await client.put(f"/orders/{old['id']}", {"order": order}, status=201)

    new = answer["orderCreateTransaction"]
    assert answer["orderCancelTransaction"]["replacedByOrderID"] == new["id"]
    assert new["replacesOrderID"] == old["id"]
    assert new["cancellingTransactionID"] == new["batchID"] == answer["orderCancelTransaction"]["batchID"]
    assert (await client.get("/orders/@a"))["order"]["id"] == new["id"]


async def test_a_refused_replacement_leaves_the_old_order(client: V20Client) -> None:
    old = (await client.order(type="LIMIT", price="1.00000"))["orderCreateTransaction"]["id"]
    order = {"type": "LIMIT", "instrument": "EUR_USD", "units": "7", "price": "1.0100000001"}

    refused = await client.put(f"/orders/{old}", {"order": order}, status=400)

    assert refused["orderRejectTransaction"]["intendedReplacesOrderID"] == old
    assert (await client.get(f"/orders/{old}"))["order"]["state"] == "PENDING"


async def test_closing_more_than_a_trade_holds_is_refused(client: V20Client) -> None:
    trade = (await client.order(units="10"))["orderFillTransaction"]["tradeOpened"]["tradeID"]

    refused = await client.put(f"/trades/{trade}/close", {"units": "11"}, status=400)

    assert refused["errorCode"] == "CLOSE_TRADE_UNITS_EXCEED_TRADE_SIZE"


async def test_numbers_are_texts(client: V20Client) -> None:
    await client.order(units="100")

    account = (await client.get("/summary"))["account"]

    assert Decimal(account["balance"]) == Decimal("100000.0000")
    assert Decimal(account["NAV"]) < Decimal(account["balance"])
