"""Answers for the adapter's tests, in tests/data/v20/answers: what the simulator says today, word for word.

RECORD=1 writes them anew; without it a difference is a failure, for then the adapter's tests speak of another venue.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from broker.simulator.clock import NANOS, SimulatedClock
from broker.simulator.http.server import Simulator
from broker.simulator.market.market import LIQUIDITY, Scenario
from tests.v20_client import V20Client

ANSWERS = Path(__file__).parents[3] / "data" / "v20" / "answers"
RESTS = {"instrument": "EUR_USD", "units": "100", "type": "LIMIT", "price": "1.00000"}


async def record(simulator: Simulator, client: V20Client) -> dict[str, Any]:
    found: dict[str, Any] = {}

    async def call(name: str, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        answer = await client.call(method, path, body, status=status)
        found[name] = {"method": method, "path": path, "request": body, "status": status, "answer": answer}
        return answer

    async def order(name: str, status: int = 201, /, **fields: Any) -> Any:
        raw = {"type": "MARKET", "instrument": "EUR_USD", "units": "100", "timeInForce": "FOK", **fields}
        return await call(name, "POST", "/orders", {"order": raw}, status)

    await order("market_filled", clientExtensions={"id": "first", "tag": "t"})
    await order("market_sell_short", instrument="USD_JPY", units="-70")
    await order("market_bounds_violation", priceBound="1.00000")
    await order("market_protected", takeProfitOnFill={"price": "1.20000"}, stopLossOnFill={"distance": "0.01000"})
    await order("limit_pending", **RESTS, timeInForce="GTC", clientExtensions={"id": "waits"})
    await order("client_id_taken", 400, clientExtensions={"id": "waits"})
    await order("time_in_force_invalid", 400, timeInForce="GTC")
    await order("instrument_unknown", 400, instrument="XXX_YYY")
    await order("trade_unknown", 404, type="TAKE_PROFIT", tradeID="999", price="1.2", timeInForce="GTC")
    replacement = {"order": {**RESTS, "price": "1.01000", "clientExtensions": {"id": "instead"}}}
    await call("replaced", "PUT", "/orders/@waits", replacement, 201)
    await call("order_by_client_id", "GET", "/orders/@instead")
    await call("order_not_found", "GET", "/orders/@first", status=404)
    await call("cancelled", "PUT", "/orders/@instead/cancel", {})
    await call("cancelled_again", "PUT", "/orders/@instead/cancel", {}, 404)
    await order("limit_pending_again", **RESTS, timeInForce="GTC")
    simulator.venue.market.liquidity = (40,)
    simulator.venue.apply([simulator.venue.market.requote("EUR_USD", simulator.venue.clock.now_ns())])
    await order("market_partly_filled", timeInForce="IOC")
    simulator.venue.market.liquidity = LIQUIDITY
    simulator.venue.apply([simulator.venue.market.requote("EUR_USD", simulator.venue.clock.now_ns())])
    await order("market_reduces_and_closes", units="-110", timeInForce="IOC")
    for name in ("pendingOrders", "openTrades", "openPositions", "summary"):
        await call(name, "GET", f"/{name}")
    await call("instruments", "GET", "/instruments?instruments=EUR_USD,USD_JPY")
    await call("pricing", "GET", "/pricing?instruments=EUR_USD,USD_JPY")
    await call("position_close_wrong_side", "PUT", "/positions/USD_JPY/close", {"longUnits": "ALL"}, 400)
    await call("position_closed", "PUT", "/positions/USD_JPY/close", {"shortUnits": "ALL", "longUnits": "NONE"})
    await call("position_flat", "GET", "/positions/USD_JPY")
    await call("position_never_traded", "GET", "/positions/GBP_USD", status=404)
    trade = (await client.get("/openTrades"))["trades"][0]["id"]
    await call("trade_closed", "PUT", f"/trades/{trade}/close", {"units": "10"})
    simulator.venue.market.scenario = Scenario.WEEKEND
    simulator.venue.apply([simulator.venue.market.requote("EUR_USD", simulator.venue.clock.now_ns())])
    await order("market_halted")
    await call("log", "GET", "/transactions/sinceid?id=0")
    return found


async def test_the_recorded_answers_are_what_the_simulator_says() -> None:
    clock = SimulatedClock(source=lambda: 1_700_000_000 * NANOS + 123_456_789)
    async with (
        Simulator(seed=1, ticks_per_s=0, clock=clock) as simulator,
        V20Client(simulator.rest_url, simulator.token) as client,
    ):
        found = await record(simulator, client)

    if os.environ.get("RECORD") == "1":
        ANSWERS.mkdir(exist_ok=True)
        for name, answer in found.items():
            (ANSWERS / f"{name}.json").write_text(json.dumps(answer, indent=1) + "\n")
    kept = {path.stem: json.loads(path.read_text()) for path in ANSWERS.glob("*.json")}
    assert found == kept
