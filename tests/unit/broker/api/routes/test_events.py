from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal

import pytest

from broker.api.routes import events
from broker.api.routes.events import event_of
from broker.api.settings import ApiSettings
from broker.domain import OrderRequest, OrderType, Quote, Side
from broker.orders.updates import Missed
from tests.unit.broker.api.asgi import Answer
from tests.unit.broker.api.conftest import Client
from tests.unit.broker.api.fake_order_service import NOW, make_order

REQUEST = OrderRequest(
    client_order_id="a",
    client="flow",
    account="101-004-1234567-001",
    instrument="EUR_USD",
    type=OrderType.MARKET,
    side=Side.BUY,
    units=Decimal(100),
)
QUOTE = Quote(instrument="USD_JPY", bid=Decimal("150.001"), ask=Decimal("150.011"), time=NOW, received_at=NOW)
BOTH = frozenset({"order", "price"})


def test_order_is_an_event_with_its_whole_state() -> None:
    text = event_of(make_order(REQUEST), BOTH, None)

    assert text is not None
    assert text.startswith("id: 01JGX5TVK2M4N6P8Q0R2S4T001.1767607200250000\nevent: order\ndata: {")
    assert text.endswith("}\n\n")
    assert text.count("\n") == 4


def test_price_is_an_event() -> None:
    assert event_of(QUOTE, BOTH, None) == (
        'event: price\ndata: {"instrument":"USD_JPY","bid":"150.001","ask":"150.011",'
        '"time":"2026-01-05T10:00:00.250000Z","tradeable":true}\n\n'
    )


def test_missed_updates_are_told_whatever_was_asked_for() -> None:
    assert event_of(Missed(3), frozenset({"order"}), frozenset()) == 'event: missed\ndata: {"count": 3}\n\n'


@pytest.mark.parametrize(
    ("kinds", "names", "order", "price"),
    [
        ({"order"}, None, True, False),
        ({"price"}, None, False, True),
        ({"order", "price"}, {"USD_JPY"}, False, True),
        ({"order", "price"}, {"EUR_USD"}, True, False),
    ],
)
def test_only_what_was_asked_for_is_sent(kinds: set[str], names: set[str] | None, order: bool, price: bool) -> None:
    wanted = frozenset(names) if names is not None else None

    assert (event_of(make_order(REQUEST), frozenset(kinds), wanted) is not None) is order
    assert (event_of(QUOTE, frozenset(kinds), wanted) is not None) is price


@asynccontextmanager
async def streaming(api: Client) -> AsyncIterator[asyncio.Task[Answer]]:
    begun = asyncio.Event()
    task = asyncio.create_task(api("GET", "/v1/events", until=begun))
    async with asyncio.timeout(120):
        await begun.wait()
        yield task


async def test_stream_sends_updates_and_ends_when_the_broker_drains(api: Client) -> None:
    async with streaming(api) as task:
        api.orders.feed.put_nowait(QUOTE)
        while not api.orders.feed.empty():
            await asyncio.sleep(0)
        api.context.drain.set()
        answer = await task

    assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert answer.content.decode().startswith("retry: 1000\n\nevent: price\n")
    assert api.account.streams == 0


async def test_quiet_stream_shows_that_it_lives(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "KEEPALIVE_S", 0.001)
    async with streaming(api) as task:
        await asyncio.sleep(0.01)
        api.context.drain.set()
        answer = await task

    assert b": alive\n\n" in answer.content


class TestLimitOfStreams:
    @pytest.fixture
    def settings(self) -> ApiSettings:
        return ApiSettings(tls="off", event_streams=1)

    async def test_one_stream_too_many_is_503(self, api: Client) -> None:
        async with streaming(api) as task:
            answer = await api("GET", "/v1/events")
            assert (answer.status, answer.problem, answer.headers["retry-after"]) == (503, "too-many-streams", "5")
            api.context.drain.set()
            await task


async def test_reader_that_leaves_frees_its_place(api: Client) -> None:
    async with streaming(api) as task:
        api.orders.feed.put_nowait(QUOTE)
        while not api.orders.listeners:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for _ in range(5):
            await asyncio.sleep(0)

    assert api.account.streams == 0
    assert api.orders.listeners == 0
