"""Answers recorded at the venue against the simulator's: every field of the one is in the other.

The recordings are those that oandapyV20 ships (`endpoints.responses`, MIT, © 2016 Feite Brekeveld), of 2016 to 2018: a
floor, to which the published description and the strict models of fivetwenty add what came later.
"""

from __future__ import annotations

import importlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import pytest

from broker.simulator.http.server import Simulator
from tests.v20_client import V20Client

pytestmark = pytest.mark.real

MODULES = ("accounts", "instruments", "orders", "positions", "pricing", "trades", "transactions")
SIDES = {"long", "short"}
ENDED = {
    # Deprecated (v20, `ClientPrice`); the recordings of 2026 have none.
    "prices": {"unitsAvailable"},
    "unitsAvailable": {"default", "openOnly", "reduceFirst", "reduceOnly"},
    **dict.fromkeys(("default", "openOnly", "reduceFirst", "reduceOnly"), SIDES),
}
"""Recorded fields that today's answers do not have."""
Fields = dict[str, set[str]]
"""Names of fields by the kind of object."""


def objects(value: Any, name: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every object inside `value` with its kind: a transaction's or order's type, else the name that holds it."""
    if isinstance(value, list):
        for item in value:
            yield from objects(item, name)
    if isinstance(value, Mapping):
        kind = value.get("type")
        typed = isinstance(kind, str) and kind != "PRICE" and {"time", "state"} & set(value)
        yield (str(kind) if typed else name), value
        for key, item in value.items():
            yield from objects(item, key)


def fields(*answers: Any) -> Fields:
    found: Fields = defaultdict(set)
    for kind, item in objects(list(answers)):
        found[kind] |= set(item)
    return found


def recorded() -> Fields:
    modules = [importlib.import_module(f"oandapyV20.endpoints.responses.{name}") for name in MODULES]
    answers = [item.get("response") for module in modules for item in module.responses.values()]
    # Without the lines of streams, which the clients walk.
    return fields(*(answer for answer in answers if isinstance(answer, dict)))


async def shown(simulator: Simulator, client: V20Client) -> Fields:
    """Answers about an account that has done a little of everything."""
    answers = [await client.get("/summary"), await client.get("/instruments?instruments=EUR_USD")]
    limit = {"type": "LIMIT", "instrument": "EUR_USD", "units": "5", "price": "1.05", "clientExtensions": {"id": "a"}}
    protection: dict[str, Any] = {"takeProfitOnFill": {"price": "1.1"}, "stopLossOnFill": {"price": "1.0"}}
    opened = await client.order(units="100", tradeClientExtensions={"id": "t"}, **protection)
    trade = opened["orderFillTransaction"]["tradeOpened"]["tradeID"]
    answers += [
        await client.put(f"/trades/{trade}/orders", {"stopLoss": {"price": "1.01"}, "takeProfit": {"price": "1.2"}}),
        await client.order(**limit | protection),
        await client.put("/orders/@a", {"order": limit | protection}, status=201),
        await client.put("/orders/@a/clientExtensions", {"clientExtensions": {"id": "b", "comment": "c"}}),
        await client.put(f"/trades/{trade}/clientExtensions", {"clientExtensions": {"id": "b", "comment": "c"}}),
        await client.order(type="MARKET_IF_TOUCHED", price="1.05", timeInForce="GTD", gtdTime="2099-01-01T00:00:00Z"),
        await client.order(type="STOP", price="1.15", clientExtensions={"id": "s"}, **protection),
        await client.order(instrument="USD_JPY", units="-7", trailingStopLossOnFill={"distance": "1"}),
        await client.order(type="LIMIT", price="1.0500001", status=400),
        await client.call("PATCH", "/configuration", {"alias": "x", "marginRate": "0.05"}),
        await client.call("PATCH", "/configuration", {"marginRate": "5"}, status=400),
        await client.put("/orders/77/cancel", status=404),
        await client.get(""),
        await client.get("/changes?sinceTransactionID=2"),
    ]
    paths = [
        *("orders?state=ALL", "orders/@b", "trades", "trades/@b", "positions", "positions/USD_JPY"),
        *("pricing?instruments=EUR_USD", "transactions", "transactions/3", "transactions/idrange?from=1&to=4"),
    ]
    answers += [await client.get(f"/{path}") for path in paths]
    of_instrument = ("candles?price=MBA&count=2", "orderBook", "positionBook")
    answers += [await client.get(f"/v3/instruments/EUR_USD/{path}") for path in of_instrument]
    answers += [await client.get("/v3/accounts"), await client.put("/trades/@b/close", {"units": "10"})]
    answers += [await client.put("/positions/EUR_USD/close", {"longUnits": "1"})]
    simulator.venue.market.place("EUR_USD", Decimal("1.04"), simulator.venue.clock.now_ns())
    simulator.venue.clock.move(86_400)
    simulator.venue.step()
    answers += [await client.put("/positions/USD_JPY/close", {"shortUnits": "ALL"})]
    answers += [await client.get("/orders?state=ALL"), await client.get("/trades?state=ALL"), await client.log()]
    return fields(*answers)


async def test_every_field_that_was_recorded_at_the_venue_is_shown(simulator: Simulator) -> None:
    async with V20Client(simulator.rest_url, simulator.token) as client:
        ours = await shown(simulator, client)

    lost = {kind: names - ours.get(kind, set()) for kind, names in recorded().items()}
    assert {kind: names for kind, names in lost.items() if names} == ENDED
