from __future__ import annotations

import asyncio
import io
import json
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer
from msgspec import structs

from sidecar.console.document import StatusDocument
from sidecar.console.event_stream import Watchers
from sidecar.console.server import PAGES, console_application, host_name
from sidecar.ingest.tail import TailEvent
from tests.unit.sidecar.console.sidecar_state import status

Client = TestClient[web.Request, web.Application]
HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})


@dataclass
class FakeSource:
    """Sidecar whose events a test puts in; its documents have the tick as their process id."""

    events: asyncio.Queue[TailEvent] = field(default_factory=asyncio.Queue)
    watchers: Watchers = field(default_factory=lambda: Watchers(2))
    tails_open: int = 0

    def status(self) -> StatusDocument:
        return tick(1)

    async def tail(self) -> AsyncIterator[TailEvent]:
        self.tails_open += 1
        try:
            while True:
                yield await self.events.get()
        finally:
            self.tails_open -= 1

    async def bundle(self) -> dict[str, str]:
        return {"status.json": "{}\n"}


@pytest.fixture
def source() -> FakeSource:
    return FakeSource()


@pytest.fixture
async def client(source: FakeSource) -> AsyncIterator[Client]:
    async with TestClient(TestServer(console_application(source, source.watchers, HOSTS))) as found:
        yield found
        source.watchers.close()


def tick(number: int) -> StatusDocument:
    return structs.replace(status(), pid=number)


def event(sequence: int) -> TailEvent:
    return TailEvent(
        time_ns=1_700_000_000_000_000_000,
        producer_id="p",
        session_id="s",
        sequence=sequence,
        name="a.b",
        severity=9,
        attributes={"x": 1.5},
    )


async def message(answer: ClientResponse) -> tuple[str, Any]:
    kind = (await answer.content.readline()).decode().removeprefix("event: ").strip()
    data = json.loads((await answer.content.readline()).decode().removeprefix("data: "))
    assert await answer.content.readline() == b"\n"
    return kind, data


async def test_every_part_of_the_page_is_served_with_the_policy(client: Client) -> None:
    for path, (_, kind) in PAGES.items():
        answer = await client.get(path)
        assert (answer.status, answer.content_type) == (200, kind)
        assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_the_page_names_no_other_host_and_has_no_inline_script_or_style(client: Client) -> None:
    for path in PAGES:
        text = await (await client.get(path)).text()
        urls = text.replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in urls
        assert "https://" not in urls
    page = await (await client.get("/")).text()
    assert "style=" not in page
    assert page.count("<script") == page.count('<script type="module" src="/console.js"></script>') == 1
    assert "onclick" not in page


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8090", "127.0.0.1.evil.example", "[::2]:80", ""])
async def test_a_name_that_is_not_ours_is_refused(client: Client, host: str) -> None:
    answer = await client.get("/api/status", headers={"Host": host})
    assert answer.status == 421
    assert "health" not in await answer.text()


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1234", "127.0.0.1:80", "[::1]:80"])
async def test_our_own_names_are_answered(client: Client, host: str) -> None:
    assert (await client.get("/api/status", headers={"Host": host})).status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_nothing_can_be_changed(client: Client, method: str) -> None:
    for path in ("/", "/api/status", "/api/events", "/api/diagnostics"):
        assert (await client.request(method, path)).status == 405


async def test_the_status_is_json(client: Client) -> None:
    answer = await client.get("/api/status")
    assert (answer.headers["Content-Type"], (await answer.json())["pid"]) == ("application/json; charset=utf-8", 1)


async def test_a_stream_begins_with_the_status_and_goes_on_with_each_tick(client: Client, source: FakeSource) -> None:
    async with client.get("/api/events?tail=0") as answer:
        first = await message(answer)
        source.watchers.tell(tick(2))
        second = await message(answer)
    assert [(kind, data["pid"]) for kind, data in (first, second)] == [("status", 1), ("status", 2)]


async def test_a_stream_carries_the_producers_events(client: Client, source: FakeSource) -> None:
    source.events.put_nowait(event(1))
    source.events.put_nowait(event(2))
    async with client.get("/api/events?status=0") as answer:
        kind, data = await message(answer)
    assert kind == "events"
    assert data[0] == {
        "time": "2023-11-14T22:13:20.000Z",
        "producer": "p",
        "sequence": 1,
        "name": "a.b",
        "severity": 9,
        "attributes": {"x": 1.5},
    }
    assert [item["sequence"] for item in data] == [1, 2]


async def test_one_watcher_too_many_is_asked_to_come_back(client: Client) -> None:
    async with client.get("/api/events?tail=0"), client.get("/api/events?tail=0"):
        answer = await client.get("/api/events?tail=0")
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")


async def test_a_watcher_that_goes_makes_room_and_ends_its_tail(client: Client, source: FakeSource) -> None:
    for _ in range(4):
        async with client.get("/api/events") as answer:
            await message(answer)
        while source.watchers.any:
            source.watchers.tell(tick(3))
            await asyncio.sleep(0)
    assert source.tails_open == 0


async def test_closing_ends_every_stream(client: Client, source: FakeSource) -> None:
    async with client.get("/api/events?tail=0") as answer:
        await message(answer)
        source.watchers.close()
        assert await answer.content.read() == b""
    assert (await client.get("/api/events")).status == 503


async def test_the_bundle_is_a_zip_file_to_keep(client: Client) -> None:
    answer = await client.get("/api/diagnostics")
    assert "attachment" in answer.headers["Content-Disposition"]
    with zipfile.ZipFile(io.BytesIO(await answer.read())) as archive:
        assert archive.read("status.json") == b"{}\n"


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("LOCALHOST:8090", "localhost"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]:8090", "[::1]"),
        ("[::1]", "[::1]"),
        ("evil.example:80", "evil.example"),
        ("", ""),
    ],
)
def test_the_name_in_a_host_header_has_neither_port_nor_capitals(header: str, name: str) -> None:
    assert host_name(header) == name
