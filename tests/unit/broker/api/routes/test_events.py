from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal

import pytest

from broker.api.routes import events
from broker.api.schemas.events import KINDS, EventFilter, event_of
from broker.api.settings import ApiSettings
from broker.domain import OrderRequest, OrderType, Quote, Side
from broker.orders.event_stream import Begun, Gap, Streamed
from broker.orders.model.trading_state import AccountControl, TradingState
from broker.orders.store.journal import JournalMark
from broker.orders.store.tail import Change
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
ALL = EventFilter(kinds=frozenset(KINDS))
ORDER = Change(position=7, crc=0xABC, order=make_order(REQUEST))
FILL = Change(position=8, crc=1, transaction={"id": "12", "type": "ORDER_FILL", "instrument": "EUR_USD"})
TRANSFER = Change(position=9, crc=2, transaction={"id": "13", "type": "TRANSFER_FUNDS"})
HALT = Change(position=10, crc=3, control=AccountControl(state=TradingState.HALTED, state_actor="ann"))


def test_order_is_an_event_with_its_whole_state() -> None:
    text = event_of(ORDER, ALL)

    assert text is not None
    assert text.startswith('event: order\ndata: {"id":"01JGX5TVK2M4N6P8Q0R2S4T001"')
    assert text.endswith("}\n\n")
    assert text.count("\n") == 3


def test_price_is_an_event() -> None:
    assert event_of(QUOTE, ALL) == (
        'event: price\ndata: {"instrument":"USD_JPY","bid":"150.001","ask":"150.011",'
        '"time":"2026-01-05T10:00:00.250000Z","tradeable":true}\n\n'
    )


def test_transaction_is_an_event_with_the_venues_object() -> None:
    raw = {"id": "12", "type": "ORDER_FILL", "time": "2026-01-05T10:00:00.250000000Z", "pl": "-0.5"}
    assert event_of(Change(position=8, transaction=raw), ALL) == (
        'event: transaction\ndata: {"id":12,"type":"ORDER_FILL","instrument":null,'
        '"time":"2026-01-05T10:00:00.250000Z","transaction":{"id":"12","type":"ORDER_FILL",'
        '"time":"2026-01-05T10:00:00.250000000Z","pl":"-0.5"}}\n\n'
    )


def test_trading_state_is_an_event() -> None:
    assert event_of(HALT, ALL) == 'event: state\ndata: {"state":"halted","actor":"ann","reason":"start"}\n\n'


async def test_account_is_an_event_as_its_route_shows_it(api: Client) -> None:
    text = event_of(await api.orders.account(), ALL, "practice")

    assert text is not None
    assert json.loads(text.removeprefix("event: account\ndata: ")) == (await api("GET", "/v1/account")).json()


def test_missed_updates_and_gaps_are_told_whatever_was_asked_for() -> None:
    nothing = EventFilter(kinds=frozenset({"order"}), instruments=frozenset())

    assert event_of(Missed(3), nothing) == 'event: missed\ndata: {"count":3}\n\n'
    assert event_of(Gap(JournalMark(5, 1), "discarded"), nothing) == (
        'event: gap\ndata: {"reason":"discarded",'
        '"detail":"Changes before this event are missing here: read /v1/orders and /v1/history."}\n\n'
    )


@pytest.mark.parametrize(
    ("kinds", "names", "client", "shown"),
    [
        ("order", None, None, [ORDER]),
        ("price", None, None, [QUOTE]),
        ("transaction", None, None, [FILL, TRANSFER]),
        ("state", None, None, [HALT]),
        ("order,price,transaction,state", "USD_JPY", None, [QUOTE, TRANSFER, HALT]),
        ("order,price,transaction,state", "EUR_USD", None, [ORDER, FILL, TRANSFER, HALT]),
        ("order,transaction", None, "flow", [ORDER, FILL, TRANSFER]),
        ("order,transaction", None, "other", [FILL, TRANSFER]),
    ],
)
def test_only_what_was_asked_for_is_sent(
    kinds: str, names: str | None, client: str | None, shown: list[Streamed]
) -> None:
    wanted = EventFilter(
        kinds=frozenset(kinds.split(",")), instruments=frozenset([names]) if names else None, client=client
    )
    every: list[Streamed] = [ORDER, QUOTE, FILL, TRANSFER, HALT]

    assert [item for item in every if event_of(item, wanted) is not None] == shown


@asynccontextmanager
async def streaming(
    api: Client, query: str = "", headers: Mapping[str, str] | None = None
) -> AsyncIterator[asyncio.Task[Answer]]:
    begun = asyncio.Event()
    task = asyncio.create_task(api("GET", f"/v1/events{query}", until=begun, headers=headers))
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


async def streamed(api: Client, *updates: Streamed, query: str = "") -> str:
    """The text of a stream of these."""
    async with streaming(api, query) as task:
        for update in updates:
            api.orders.feed.put_nowait(update)
        while not api.orders.feed.empty():
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        api.context.drain.set()
        return (await task).content.decode()


async def test_ids_are_places_in_the_journal_and_prices_have_none(api: Client) -> None:
    text = await streamed(api, Begun(JournalMark(6, 0x1A2B)), QUOTE, ORDER, QUOTE)

    assert [line for line in text.splitlines() if line.startswith(("id", "event"))] == [
        "id: 6-00001a2b",
        "event: price",
        "id: 7-00000abc",
        "event: order",
        "event: price",
    ]
    assert text.startswith("retry: 1000\n\nid: 6-00001a2b\n\nevent: price")


async def test_reader_of_few_events_keeps_up_its_place_with_the_next_of_any_kind(api: Client) -> None:
    text = await streamed(api, ORDER, FILL, QUOTE, query="?types=price")

    assert text.startswith("retry: 1000\n\nid: 8-00000001\nevent: price\n")


async def test_quiet_stream_keeps_up_its_place(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "KEEPALIVE_S", 0.001)
    async with streaming(api, "?types=price") as task:
        api.orders.feed.put_nowait(ORDER)
        await asyncio.sleep(0.05)
        api.context.drain.set()
        answer = await task

    assert b"id: 7-00000abc\n: alive\n\n" in answer.content


@pytest.mark.parametrize(
    ("query", "header", "followed"),
    [
        ("", None, None),
        ("", "7-00000abc", JournalMark(7, 0xABC)),
        ("?after=7-00000abc", None, JournalMark(7, 0xABC)),
        ("?after=5-00000abc", "7-00000abc", JournalMark(7, 0xABC)),
        ("", "01JGX5TVK2M4N6P8Q0R2S4T001.1767607200250000", JournalMark(0, 0)),
    ],
)
async def test_stream_goes_on_from_the_last_event_that_was_seen(
    api: Client, query: str, header: str | None, followed: JournalMark | None
) -> None:
    async with streaming(api, query, {"last-event-id": header} if header else None) as task:
        while not api.orders.listeners:
            await asyncio.sleep(0)
        api.context.drain.set()
        await task

    assert api.orders.followed == [followed]


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
