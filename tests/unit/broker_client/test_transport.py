from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

import broker_client as bc
from broker_client.transport import segment
from pod_runtime.backoff import Backoff
from tests.unit.broker_client.order_api import CUT, HANG, ORDER, ScriptedOrderApi, serving

BODY = bc.OrderBody(instrument="EUR_USD", side=bc.Side.BUY, type=bc.OrderType.MARKET, units=Decimal(1000))
AT_ONCE = bc.RetryPolicy(attempts=3, pauses=Backoff(base_s=0.001, cap_s=0.001))


@pytest.fixture
async def api() -> AsyncIterator[ScriptedOrderApi]:
    async with serving() as made:
        yield made


def client(api: ScriptedOrderApi, **changed: Any) -> bc.BrokerClient:
    usual: dict[str, Any] = {"api_key": "secret-key", "retry": AT_ONCE, "new_key": lambda: "made-1"}
    return bc.BrokerClient(api.url, **(usual | changed))


async def test_an_order_is_sent_with_exact_numbers_and_without_what_was_not_said(api: ScriptedOrderApi) -> None:
    api.says(201, ORDER)
    async with client(api) as broker:
        order = await broker.place_order(BODY, traceparent="00-trace")
    (asked,) = api.asked
    assert asked.body == {"instrument": "EUR_USD", "side": "buy", "type": "market", "units": "1000"}
    assert (asked.method, asked.target, asked.headers["x-api-key"]) == ("POST", "/v1/orders", "secret-key")
    assert (asked.headers["traceparent"], asked.headers["content-type"]) == ("00-trace", "application/json")
    assert (order.average_price, order.status) == (Decimal("1.10010"), bc.OrderStatus.FILLED)
    assert order.updated_at == datetime(2026, 1, 5, 10, microsecond=250_000, tzinfo=UTC)


@pytest.mark.parametrize("failure", [CUT, 502, 503, 504, 429])
async def test_a_retry_sends_the_same_key_and_body(api: ScriptedOrderApi, failure: int) -> None:
    api.says(failure, "")
    api.says(201, ORDER)
    async with client(api) as broker:
        await broker.place_order(BODY)
    first, second = api.asked
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"] == "made-1"
    assert first.body == second.body


async def test_a_key_that_the_caller_gives_is_the_one_that_is_sent(api: ScriptedOrderApi) -> None:
    api.says(201, ORDER)
    async with client(api) as broker:
        await broker.place_order(BODY, idempotency_key="mine")
        await broker.place_order(
            bc.OrderBody(
                instrument="EUR_USD",
                side=bc.Side.BUY,
                type=bc.OrderType.MARKET,
                units=Decimal(1),
                client_order_id="in-body",
            )
        )
    assert [asked.headers["idempotency-key"] for asked in api.asked] == ["mine", "in-body"]


async def test_a_post_without_a_key_is_not_repeated_when_its_result_is_open(api: ScriptedOrderApi) -> None:
    api.says(CUT)
    async with client(api) as broker:
        with pytest.raises(bc.NoAnswerError):
            await broker.reconcile()
    assert len(api.asked) == 1


async def test_the_last_failure_says_which_key_to_send_again(api: ScriptedOrderApi) -> None:
    api.says(504, "")
    async with client(api) as broker:
        with pytest.raises(bc.UnavailableError) as caught:
            await broker.place_order(BODY)
    assert (len(api.asked), caught.value.idempotency_key) == (3, "made-1")


async def test_a_refused_order_is_raised_at_once_with_its_reason(api: ScriptedOrderApi) -> None:
    refused = {**ORDER, "status": "denied", "reason": "UNITS_LIMIT_EXCEEDED"}
    problem = {"type": "urn:broker:problem:order-denied", "title": "", "status": 422, "detail": "No."}
    api.says(422, {**problem, "reason": "UNITS_LIMIT_EXCEEDED", "order": refused})
    async with client(api) as broker:
        with pytest.raises(bc.OrderRefusedError) as caught:
            await broker.place_order(BODY)
    assert caught.value.order is not None
    assert (caught.value.reason, caught.value.order.status, len(api.asked)) == ("UNITS_LIMIT_EXCEEDED", "denied", 1)


async def test_an_answer_that_does_not_come_is_given_up_at_the_deadline(api: ScriptedOrderApi) -> None:
    api.says(HANG)
    async with client(api, deadline_s=0.2) as broker:
        with pytest.raises(bc.NoAnswerError, match="GET /v1/account"):
            await broker.get_account()


async def test_a_broker_that_is_not_there_is_no_answer() -> None:
    async with bc.BrokerClient("http://127.0.0.1:9", api_key="k", retry=AT_ONCE) as broker:
        with pytest.raises(bc.NoAnswerError):
            await broker.reconcile()


async def test_a_proxys_page_with_status_200_is_never_a_result(api: ScriptedOrderApi) -> None:
    api.says(200, "<html>hello")
    async with client(api) as broker:
        with pytest.raises(bc.NoAnswerError, match="the answer cannot be read"):
            await broker.get_account()


async def test_a_redirect_is_not_followed_with_the_key(api: ScriptedOrderApi) -> None:
    api.says(307, "", Location="http://127.0.0.1:9/v1/account")
    async with client(api) as broker:
        with pytest.raises(bc.OrderApiError):
            await broker.get_account()
    assert len(api.asked) == 1


async def test_names_and_fields_of_a_newer_broker_are_taken(api: ScriptedOrderApi) -> None:
    api.says(200, {**ORDER, "status": "paused_by_venue", "new_field": 1})
    async with client(api) as broker:
        order = await broker.get_order("01A")
    assert (order.status, str(order.status)) == ("paused_by_venue", "paused_by_venue")
    assert isinstance(order.status, bc.OrderStatus)


async def test_queries_have_the_clients_account_and_times_with_their_zone(api: ScriptedOrderApi) -> None:
    api.says(200, {"fills": [], "next": None})
    since = datetime(2026, 1, 5, 10, tzinfo=timezone(timedelta(hours=1)))
    async with client(api, account="101-1") as broker:
        await broker.list_past_fills(since=since, limit=5)
        await broker.list_past_fills(account="101-2")
    assert [asked.target for asked in api.asked] == [
        "/v1/history/fills?since=2026-01-05T10:00:00%2B01:00&limit=5&account=101-1",
        "/v1/history/fills?account=101-2",
    ]


async def test_each_request_asks_for_the_present_key(api: ScriptedOrderApi) -> None:
    api.says(200, {"prices": []})
    keys = iter(["old", "new"])
    async with client(api, api_key=lambda: next(keys)) as broker:
        await broker.list_prices()
        await broker.list_prices()
    assert [asked.headers["x-api-key"] for asked in api.asked] == ["old", "new"]


async def test_a_stream_goes_on_behind_its_last_event(api: ScriptedOrderApi) -> None:
    api.streams = [["id: 1\nevent: missed\ndata: {}\n\n", "id: 2\nevent: miss"], ["id: 3\nevent: missed\ndata: {}\n\n"]]
    seen = []
    async with client(api) as broker, broker.stream_events(types="order") as events:
        async for event in events:
            seen.append((event.kind, event.id))
            if event.id == "3":
                break
    assert seen == [("connected", None), ("missed", "1"), ("connected", "1"), ("missed", "3")]
    assert [asked.headers.get("last-event-id") for asked in api.asked] == [None, "1"]


async def test_a_stream_that_is_refused_for_good_raises(api: ScriptedOrderApi) -> None:
    api.says(401, "")
    async with client(api) as broker, broker.stream_events() as events:
        with pytest.raises(bc.NotPermittedError):
            await anext(events)


async def test_a_stream_that_is_refused_for_now_is_asked_for_again(api: ScriptedOrderApi) -> None:
    api.says(503, "")
    async with client(api) as broker, broker.stream_events() as events:
        asking = anext(events)
        api.streams = []
        api.answers = [(503, "", {}), (200, "", {})]
        assert (await asking).kind == "connected"


async def test_a_client_that_is_not_open_says_so(api: ScriptedOrderApi) -> None:
    with pytest.raises(RuntimeError, match="use it within `async with`"):
        await client(api).get_account()


@pytest.mark.parametrize("url", ["broker:8080", "ftp://broker", "http://user:pass@broker", "http://", "http://b?a=1"])
def test_an_address_that_cannot_be_meant_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="url must be"):
        bc.BrokerClient(url, api_key="k")


def test_a_deadline_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        bc.BrokerClient("http://b", api_key="k", deadline_s=0)


def test_a_text_in_a_path_cannot_leave_its_segment() -> None:
    assert segment("../admin?x#y z") == "..%2Fadmin%3Fx%23y%20z"
