from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestServer

from sidecar.console.document import StatusDocument
from sidecar.console.event_stream import Watchers
from sidecar.console.server import console_application
from sidecar.ingest.producers import ProducerCondition
from sidecar.ingest.tail import TailEvent
from sidecar.secrets.acknowledge import Rejection, Stage
from tests.chromium import Page, chromium_page
from tests.require import require_binary
from tests.unit.sidecar.console.sidecar_state import EXPORT, MOMENT, NOW_NS, NS, PRODUCER, SECRETS, SIGNAL, status

pytestmark = [pytest.mark.real, pytest.mark.slow]
AXE = Path(__file__).parents[2] / "data" / "axe" / "axe.min.js"

VENUE_DOWN = {
    "producer": replace(
        PRODUCER,
        conditions=(
            ProducerCondition(
                name="Venue", ok=False, reason="Unavailable", message="503 after 3 tries", since_ns=NOW_NS - 9 * NS
            ),
        ),
    )
}
COLLECTOR_DOWN = {
    "export": replace(
        EXPORT, logs=replace(SIGNAL, failing_since_ns=NOW_NS - 60 * NS, last_error="unavailable: refused")
    )
}
SECRET_REJECTED = {
    "secrets": replace(
        SECRETS,
        stage=Stage.REJECTED,
        rejection=Rejection(
            generation=3, producer_id="broker", secret="database", reason="auth_failed", message="no", time=MOMENT
        ),
    )
}
STATES: dict[str, tuple[dict[str, Any], str, str]] = {
    "healthy": ({}, "All is well", ""),
    "venue_down": (VENUE_DOWN, "Not ready", "broker Venue: Unavailable"),
    "collector_down": (COLLECTOR_DOWN, "Degraded", "CollectorReachable: Unavailable"),
    "secret_rejected": (SECRET_REJECTED, "Degraded", "SecretsAccepted: AuthFailed"),
}


@dataclass
class FakeSource:
    """Sidecar whose document and events a test puts in."""

    document: StatusDocument = field(default_factory=status)
    events: asyncio.Queue[TailEvent] = field(default_factory=asyncio.Queue)
    watchers: Watchers = field(default_factory=lambda: Watchers(4))

    def status(self) -> StatusDocument:
        return self.document

    async def tail(self) -> AsyncIterator[TailEvent]:
        while True:
            yield await self.events.get()

    async def bundle(self) -> dict[str, str]:
        return {}

    def emit(self, sequence: int, name: str, severity: int = 9, **attributes: Any) -> None:
        self.events.put_nowait(
            TailEvent(
                time_ns=NOW_NS,
                producer_id="broker",
                session_id="s",
                sequence=sequence,
                name=name,
                severity=severity,
                attributes=attributes,
            )
        )


@asynccontextmanager
async def opened(source: FakeSource) -> AsyncIterator[tuple[Page, str]]:
    program = require_binary("chromium")
    server = TestServer(console_application(source, source.watchers, frozenset({"127.0.0.1"})))
    async with server, chromium_page(program) as page:
        await page.look(width=1280, height=900)
        await page.open(str(server.make_url("/")))
        await page.wait("document.querySelector('.stop')")
        yield page, str(server.make_url("/"))
        source.watchers.close()


async def text(page: Page, selector: str) -> str:
    return str(await page.run(f"document.querySelector({json.dumps(selector)}).innerText"))


async def violations(page: Page) -> Any:
    """Findings of axe, after a look that it did examine the page."""
    await page.run(AXE.read_text() + ";0")
    found = await page.run(
        "axe.run().then((r) => [r.passes.length, r.violations.map((v) => [v.id, v.nodes.map((n) => n.html)])])"
    )
    assert found[0] > 20
    return found[1]


@pytest.mark.parametrize("state", STATES)
async def test_each_state_is_said_at_a_glance_and_is_clean(state: str, tmp_path: Path) -> None:
    changes, title, cause = STATES[state]
    source = FakeSource(document=status(**changes))
    source.emit(1, "broker.order.filled", instrument="EUR_USD", order_id="x" * 200)
    async with opened(source) as (page, url):
        await page.wait("document.querySelector('#tail .name')")
        assert await text(page, "#verdict-title") == title
        assert cause in await text(page, "#verdict")
        assert await page.run("document.querySelectorAll('#todo code').length") == (0 if state == "healthy" else 1)
        for scheme, width in (("light", 1280), ("dark", 1280), ("light", 360), ("dark", 360)):
            await page.look(width=width, height=900, scheme=scheme, phone=width < 500)
            await page.screenshot(tmp_path / f"{state}-{scheme}-{width}.png")
            assert await page.run("document.documentElement.scrollWidth") == width
            assert await violations(page) == []
        assert page.problems == []
        assert {item.startswith(url) for item in page.requested} == {True}


async def test_a_change_is_shown_as_it_comes() -> None:
    source = FakeSource()
    async with opened(source) as (page, _):
        source.watchers.tell(status(**VENUE_DOWN))
        await page.wait("document.querySelector('#verdict-title').innerText === 'Not ready'")
        assert await page.run("document.title") == "✕ Sidecar"
        heard = await page.run("document.querySelector('[role=status].unseen').textContent")
        assert heard == "Not ready. broker Venue: Unavailable"
        source.watchers.tell(status())
        await page.wait("document.querySelector('#verdict-title').innerText === 'All is well'")


async def test_events_are_filtered_and_paused_by_keyboard() -> None:
    source = FakeSource()
    async with opened(source) as (page, _):
        source.emit(1, "broker.order.filled", order_id="A1")
        source.emit(2, "broker.api.error", severity=17, status=503)
        await page.wait("document.querySelectorAll('#tail .name').length === 2")
        await page.run("document.querySelector('#filter').focus()")
        await page.command("Input.insertText", text="order_id=a1")
        await page.wait("document.querySelectorAll('#tail .name').length === 1")
        assert "A1" in await text(page, "#tail")
        await page.press("Tab")
        await page.press("Tab")
        assert await page.run("document.activeElement.id") == "pause"
        await page.press("Space")
        assert await page.run("document.activeElement.getAttribute('aria-pressed')") == "true"
        source.emit(3, "broker.order.filled", order_id="A1")
        await page.wait("document.querySelector('#tail-count').innerText.includes('1 since the pause')")
        assert await page.run("document.querySelectorAll('#tail .name').length") == 1


async def test_what_an_event_says_is_never_markup() -> None:
    source = FakeSource()
    async with opened(source) as (page, _):
        source.emit(1, "a.b", text="<img src=x onerror=alert(1)>")
        await page.wait("document.querySelector('#tail .name')")
        assert await page.run("document.querySelectorAll('#tail img').length") == 0
        assert "<img" in await text(page, "#tail")
        assert page.problems == []


async def test_a_sidecar_that_goes_is_told_and_waited_for() -> None:
    source = FakeSource()
    async with opened(source) as (page, _):
        source.watchers.close()
        await page.wait("document.querySelector('#verdict-title').innerText === 'The sidecar does not answer'")
        assert "trying again" in await text(page, "#link")
