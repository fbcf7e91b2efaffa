from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from tests.unit.broker.api.conftest import Client, fill_history
from tests.unit.broker.history.fake_journal import make_order, make_transaction


async def test_page_of_orders_has_texts_for_numbers_and_a_cursor(api: Client) -> None:
    await fill_history(api, *(make_order(number) for number in range(1, 4)))
    first = (await api("GET", "/v1/history/orders?limit=2")).json()
    second = (await api("GET", f"/v1/history/orders?limit=2&cursor={first['next']}")).json()

    assert [item["client_order_id"] for item in first["orders"] + second["orders"]] == ["c-3", "c-2", "c-1"]
    assert second["next"] is None
    assert second["orders"][0] == {
        "id": "01JGX5TVK2M4N6P8Q0R2S40001",
        "client": "flow",
        "client_order_id": "c-1",
        "instrument": "EUR_USD",
        "type": "market",
        "side": "buy",
        "status": "filled",
        "reason": None,
        "units": "100.50",
        "filled_units": "100.50",
        "average_price": "1.10000",
        "venue_order_id": None,
        "created_at": "2026-01-05T10:00:01Z",
        "updated_at": "2026-01-05T10:00:01Z",
        "time_in_force": "gtc",
        "expires_at": None,
        "remaining_units": "0",
        "price": None,
        "price_bound": None,
        "distance": None,
        "position_fill": "default",
        "trigger_condition": "default",
        "trade_id": None,
        "take_profit": None,
        "stop_loss": None,
        "trailing_stop": None,
        "tag": None,
        "comment": None,
    }


@pytest.mark.parametrize("moment", ["0001-01-01T00:52:01%2B03:02", "9999-12-31T23:52:01-03:02"])
async def test_time_that_utc_does_not_have_is_an_error_of_the_query(api: Client, moment: str) -> None:
    for name in ("since", "until"):
        answer = await api("GET", f"/v1/history/orders?{name}={moment}")
        assert (answer.status, answer.json()["errors"][0]["field"]) == (422, name)


async def test_queries_narrow_the_page(api: Client) -> None:
    await fill_history(api, *(make_order(number) for number in range(1, 7)))

    async def found(query: str) -> list[str]:
        return [item["client_order_id"] for item in (await api("GET", f"/v1/history/orders?{query}")).json()["orders"]]

    assert await found("instrument=USD_JPY") == ["c-6", "c-3"]
    assert await found("status=rejected") == []
    assert await found("client_order_id=c-2") == ["c-2"]
    assert await found("since=2026-01-05T10:00:02Z&until=2026-01-05T10:00:04Z") == ["c-3", "c-2"]
    assert await found("since=2026-01-05T11:00:05%2B01:00") == ["c-6", "c-5"]


async def test_fills_and_transactions_are_listed(api: Client) -> None:
    await fill_history(api, make_order(1))

    (item,) = (await api("GET", "/v1/history/fills?order_id=01JGX5TVK2M4N6P8Q0R2S40001")).json()["fills"]
    assert (item["transaction_id"], item["units"], item["price"]) == ("1001", "100.50", "1.10000")
    (transaction,) = (await api("GET", "/v1/history/transactions")).json()["transactions"]
    assert transaction["transaction"] == make_transaction(7)


async def test_finished_order_is_found_by_its_id_and_by_the_callers(api: Client) -> None:
    await fill_history(api, make_order(1))

    shown = await api("GET", "/v1/orders/01JGX5TVK2M4N6P8Q0R2S40001")
    assert (shown.status, shown.json()["fills"][0]["transaction_id"]) == (200, "1001")
    listed = await api("GET", "/v1/orders?client_order_id=c-1")
    assert [item["id"] for item in listed.json()["orders"]] == ["01JGX5TVK2M4N6P8Q0R2S40001"]


async def test_wrong_cursor_and_limit_are_named(api: Client) -> None:
    for query, field in (("cursor=nonsense", "cursor"), ("limit=0", "limit"), ("since=2026-01-05", "since")):
        answer = await api("GET", f"/v1/history/orders?{query}")
        assert (answer.status, [item["field"] for item in answer.json()["errors"]]) == (422, [field])


async def test_database_that_is_away_is_503_and_orders_are_taken(api: Client) -> None:
    await api.database.close()
    for target in ("/v1/history/orders", "/v1/history/fills?format=csv", "/v1/orders/01JGX5TVK2M4N6P8Q0R2S40001"):
        answer = await api("GET", target)
        assert (answer.status, answer.problem, answer.headers["retry-after"]) == (503, "history-unavailable", "5")

    assert (await api.place()).status == 201


async def test_exports_beyond_the_limit_wait_for_one_that_ends(api: Client) -> None:
    async with AsyncExitStack() as exports:
        for _ in range(4):
            await exports.enter_async_context(api.database.export_slot())
        refused = await api("GET", "/v1/history/fills?format=parquet")
        page = await api("GET", "/v1/history/fills")

    assert (refused.status, refused.problem, refused.headers["retry-after"]) == (503, "too-many-exports", "5")
    assert page.status == 200
    for _ in range(5):
        assert (await api("GET", "/v1/history/fills?format=csv")).status == 200
