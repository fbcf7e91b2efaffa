"""Operations on all orders, positions and a trade's orders, with a real broker and the simulated venue."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.api.broker_process import Stand, standing
from tests.unit.broker.secret_volume import ACCOUNT

pytestmark = pytest.mark.real
LIMIT = {"type": "limit", "price": "1.05"}
KILL = {"confirm": ACCOUNT, "reason": "test"}


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    async with standing(tmp_path) as made:
        made.changed["orders"] = {"answer_wait_s": 30.0}
        yield made


async def at_venue(stand: Stand, path: str) -> Any:
    headers = {"Authorization": "Bearer token-1"}
    async with stand.session.get(f"{stand.rest}/v3/accounts/{ACCOUNT}/{path}", headers=headers) as answer:
        return await answer.json()


async def open_trade(stand: Stand, **order: Any) -> dict[str, Any]:
    _, body = await stand.place_order(**order)
    assert body["status"] == "filled"
    _, listed = await stand.call("GET", "/v1/trades")
    found: dict[str, Any] = listed["trades"][-1]
    return found


@pytest.mark.parametrize("fault", ["hang", "reset_after", "reset_before"])
async def test_trade_orders_whose_answer_is_lost_are_what_the_venue_has(stand: Stand, fault: str) -> None:
    stand.changed |= {"venue": {"request_deadline_s": 2.0}, "orders": {"absence_horizon_s": 1.0, "answer_wait_s": 30.0}}
    await stand.start_ready()
    trade = await open_trade(stand)
    await stand.fault(kind=fault, method="PUT", path="/orders", count=1)
    body = {"stop_loss": {"price": "1.00000", "tag": "guard"}}
    headers = {"Idempotency-Key": "protect"}
    answers = [
        await stand.call("PUT", f"/v1/trades/{trade['id']}/orders", json=body, headers=headers) for _ in range(2)
    ]
    (outcome,) = answers[0][1]["results"]
    at_the_venue = (await at_venue(stand, "pendingOrders"))["orders"]

    assert [item["price"] for item in at_the_venue] == ["1.00000"] * (outcome["outcome"] == "done")
    assert outcome["outcome"] in {"done", "unknown"}
    assert answers[1][1]["results"][0]["order"]["id"] == outcome["order"]["id"]
    shown = (await stand.call("GET", f"/v1/trades/{trade['id']}"))[1]["stop_loss"]
    assert (shown and shown["tag"]) == ("guard" if at_the_venue else None)


async def test_moved_stop_outlives_the_end_of_the_stop_before_it(stand: Stand) -> None:
    await stand.start_ready()
    end = "2040-01-06T10:00:00Z"
    trade = await open_trade(stand, stop_loss={"price": "1.00000", "time_in_force": "gtd", "expires_at": end})
    _, moved = await stand.call("PUT", f"/v1/trades/{trade['id']}/orders", json={"stop_loss": {"price": "1.01000"}})
    (stop,) = (await at_venue(stand, "pendingOrders"))["orders"]

    assert moved["results"][0]["order"]["time_in_force"] == "gtc"
    assert (stop["price"], stop["timeInForce"], stop.get("gtdTime")) == ("1.01000", "GTC", None)


async def test_kill_switch_ends_everything_and_its_repetition_after_a_kill_9_does_nothing(stand: Stand) -> None:
    await stand.start_ready()
    await open_trade(stand, stop_loss={"price": "1.00000"})
    await stand.place_order(**LIMIT)
    await stand.call("POST", "/v1/admin/kill", json=KILL | {"confirm": "x"})
    headers = {"Idempotency-Key": "the-end"}
    status, first = await stand.call("POST", "/v1/admin/kill", json=KILL, headers=headers)

    assert (status, first["complete"], first["state"]) == (200, True, "halted")
    assert {item["outcome"] for item in first["results"]} == {"done"}
    assert (await at_venue(stand, "openPositions"))["positions"] == []
    assert (await at_venue(stand, "pendingOrders"))["orders"] == []
    assert stand.broker is not None
    await stand.broker.end(signal.SIGKILL)
    await (await stand.start_broker()).event("ready")
    status, again = await stand.call("POST", "/v1/admin/kill", json=KILL, headers=headers)
    ids = [[item["order"]["id"] for item in body["results"]] for body in (first, again)]
    assert (status, sorted(ids[0])) == (200, sorted(ids[1]))
    status, refused = await stand.place_order()
    assert (status, refused["reason"]) == (422, "TRADING_HALTED")


async def test_close_all_of_several_instruments_tells_each(stand: Stand) -> None:
    stand.changed["venue"] = {"request_deadline_s": 2.0}
    await stand.start_ready()
    for instrument in ("EUR_USD", "USD_JPY"):
        await stand.place_order(instrument=instrument)
    await stand.fault(kind="hang", method="PUT", path="/positions/EUR_USD/close", count=1)
    status, body = await stand.call("POST", "/v1/positions/close", headers={"Idempotency-Key": "flat"})

    assert (status, {item["subject"]: item["outcome"] for item in body["results"]}) == (
        200,
        {"EUR_USD": "done", "USD_JPY": "done"},
    )
    assert (await at_venue(stand, "openPositions"))["positions"] == []


async def test_changed_extensions_reach_the_venue_and_keep_our_id(stand: Stand) -> None:
    await stand.start_ready()
    _, order = await stand.place_order(**LIMIT, tag="a", comment="kept")
    (before,) = (await at_venue(stand, "pendingOrders"))["orders"]
    status, changed = await stand.call("PUT", f"/v1/orders/{order['id']}/extensions", json={"tag": "b"})
    (after,) = (await at_venue(stand, "pendingOrders"))["orders"]

    assert status == 200
    assert after["clientExtensions"] == before["clientExtensions"] | {"tag": "b"}
    cancelled = await stand.call("DELETE", f"/v1/orders/{order['id']}")
    assert (cancelled[0], cancelled[1]["status"]) == (200, "cancelled")
    assert changed["id"] == order["id"]
