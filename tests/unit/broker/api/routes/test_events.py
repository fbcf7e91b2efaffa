from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from broker.api.routes import events
from broker.api.settings import ApiSettings
from broker.orders.event_stream import Begun, Streamed
from broker.orders.store.journal import JournalMark
from tests.unit.broker.api.asgi import Answer
from tests.unit.broker.api.conftest import Client
from tests.unit.broker.api.schemas.test_events import FILL, ORDER, QUOTE


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

    async def test_of_two_requests_at_once_one_gets_the_last_place(self, api: Client) -> None:
        begun = [asyncio.Event(), asyncio.Event()]
        tasks = [asyncio.create_task(api("GET", "/v1/events", until=event)) for event in begun]
        async with asyncio.timeout(120):
            while api.account.streams < 1 or not any(task.done() for task in tasks):
                await asyncio.sleep(0)
            api.context.drain.set()
            statuses = sorted([(await task).status for task in tasks])

        assert statuses == [200, 503]
        assert api.account.streams == 0


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
