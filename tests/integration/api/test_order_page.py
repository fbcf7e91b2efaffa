"""The page at /ui in a real browser, beside a running broker and a simulated venue.

`PICTURES=docs/images python -m pytest tests/integration/api/test_order_page.py -k states` keeps its pictures, of
which the pages of docs show some.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.chromium import Page, chromium_page
from tests.integration.api.broker_process import Stand, standing
from tests.integration.api.test_standby import two
from tests.require import require_binary
from tests.unit.broker.secret_volume import ACCOUNT, KEYS

pytestmark = [pytest.mark.real, pytest.mark.slow]
AXE = Path(__file__).parents[2] / "data" / "axe" / "axe.min.js"
PICTURES = os.environ.get("PICTURES", "")


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    async with standing(tmp_path) as made:
        await made.start_ready()
        yield made


@asynccontextmanager
async def opened(stand: Stand, key: str = "boss") -> AsyncIterator[Page]:
    """The page, signed in with a key."""
    async with chromium_page(require_binary("chromium")) as page:
        await page.look(width=1280, height=900)
        await page.open(f"{stand.url}/ui")
        await page.wait("document.querySelector('#key')?.offsetParent")
        await enter(page, KEYS[key])
        await page.wait("document.querySelector('#link').dataset.state === 'live'")
        yield page


async def enter(page: Page, key: str) -> None:
    await page.run(
        f"document.querySelector('#key').value = {json.dumps(key)};document.querySelector('#key-form button').click()"
    )


async def text(page: Page, selector: str) -> str:
    return str(await page.run(f"document.querySelector({json.dumps(selector)}).innerText"))


async def says(page: Page, selector: str, words: str) -> None:
    await page.wait(f"document.querySelector({json.dumps(selector)})?.innerText.includes({json.dumps(words)})")


async def rows(page: Page, table: str) -> Any:
    script = f"[...document.querySelectorAll('#{table} tbody tr')].map((row) => [...row.cells].map((c) => c.innerText))"
    return await page.run(script)


async def click(page: Page, selector: str) -> None:
    await page.wait(f"document.querySelector({json.dumps(selector)})?.offsetParent")
    await page.run(f"document.querySelector({json.dumps(selector)}).click()")


async def limit(stand: Stand, key: str = "boss", **changed: Any) -> dict[str, Any]:
    """Places an order that rests."""
    _, found = await stand.call("GET", "/v1/prices?instruments=EUR_USD")
    price = f"{float(found['prices'][0]['bid']) * 0.97:.5f}"
    body = {"instrument": "EUR_USD", "side": "buy", "type": "limit", "units": "2500", "price": price, **changed}
    status, order = await stand.call("POST", "/v1/orders", key=key, json=body)
    assert status == 201, order
    return dict(order)


async def violations(page: Page) -> Any:
    """Findings of axe, after a look that it did examine the page."""
    await page.run(AXE.read_text() + ";0")
    found = await page.run(
        "axe.run().then((r) => [r.passes.length, r.violations.map((v) => [v.id, v.nodes.map((n) => n.html)])])"
    )
    assert found[0] > 20
    return found[1]


async def look(page: Page, name: str, place: Path) -> None:
    """Examines and photographs the page in each colour and width."""
    for scheme, width in (("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)):
        await page.look(width=width, height=900, scheme=scheme, phone=width < 500)
        assert await page.run("document.documentElement.scrollWidth") == width
        assert await violations(page) == []
        # Of a phone the first screens are kept: the whole page would be a ribbon.
        picture = place / f"order-page-{name}-{scheme}{'-phone' if width < 500 else ''}.png"
        await page.screenshot(picture, whole=width >= 500)
    await page.look(width=1280, height=900)


async def test_states_are_said_at_a_glance_and_are_clean(stand: Stand, tmp_path: Path) -> None:
    place = Path(PICTURES).resolve() if PICTURES else tmp_path
    await stand.place_order(units="10000")
    await stand.place_order(instrument="USD_JPY", side="sell", units="4000")
    await stand.place_order(instrument="GBP_USD", units="2500")
    await limit(stand)
    await limit(stand, "flow", units="1200", tag="rebalance")
    async with opened(stand) as page:
        await says(page, "#verdict-title", "Trading")
        await page.wait("document.querySelectorAll('#positions tbody tr').length === 3")
        await page.wait("document.querySelectorAll('#fills tbody tr').length === 3")
        await says(page, "#figures", "Net asset value")
        await says(page, "#environment", "OTHER VENUE")
        await look(page, "healthy", place)

        await stand.call("PUT", "/v1/admin/state", json={"state": "halted", "reason": "feed shows wrong prices"})
        await says(page, "#verdict-title", "Halted: cancels only")
        await says(page, "#verdict-why", "feed shows wrong prices")
        await look(page, "halted", place)
        assert page.problems == []
        assert {url.startswith(stand.url) for url in page.requested if url != "about:blank"} == {True}
        assert not any(KEYS["boss"] in url for url in page.requested)


async def test_orders_fills_and_positions_show_as_they_happen(stand: Stand) -> None:
    async with opened(stand, "auditor") as page:
        assert await rows(page, "orders") == []
        order = await limit(stand)
        await says(page, "#orders", "2,500")
        assert (await rows(page, "orders"))[0][1:7] == ["EUR_USD", "buy", "limit", "2,500", "0", order["price"]]
        await stand.place_order(units="300")
        await says(page, "#fills", "300")
        await says(page, "#positions", "300")
        await stand.call("DELETE", f"/v1/orders/{order['id']}")
        await page.wait("!document.querySelector('#orders tbody tr')")
        assert page.problems == []


async def test_a_key_that_reads_is_offered_no_action(stand: Stand) -> None:
    await stand.place_order()
    await limit(stand)
    async with opened(stand, "auditor") as page:
        await says(page, "#orders", "2,500")
        await says(page, "#positions", "EUR_USD")
        assert "read-only" in await text(page, "#identity")
        shown = "[...document.querySelectorAll('main button, #kill')].filter((button) => button.offsetParent).length"
        assert await page.run(shown) == 0


async def test_an_order_is_cancelled_by_its_own_client_only(stand: Stand) -> None:
    mine, other = await limit(stand, "flow", units="700"), await limit(stand, "boss", units="800")
    async with opened(stand, "flow") as page:
        await says(page, "#orders", "700")
        await says(page, "#orders", "800")
        buttons = (
            "[...document.querySelectorAll('#orders tr button')].filter((b) => b.offsetParent).map((b) => b.ariaLabel)"
        )
        assert await page.run(buttons) == ["Cancel limit buy 700 EUR_USD"]
        await click(page, f"tr[data-key='{mine['id']}'] button")
        await says(page, "#notes", "limit buy 700 EUR_USD is cancelled.")
        await page.wait(f"!document.querySelector(\"tr[data-key='{mine['id']}']\")")
        assert (await stand.call("GET", f"/v1/orders/{other['id']}"))[1]["status"] == "pending"


async def test_a_position_is_closed_after_one_confirmation_by_keyboard(stand: Stand) -> None:
    await stand.place_order(units="400")
    async with opened(stand, "flow") as page:
        await says(page, "#positions", "400")
        await page.run("document.querySelector('#positions button').focus()")
        await page.press("Enter")
        await page.wait("document.querySelector('#confirm').open")
        assert "400 EUR_USD" in await text(page, "#confirm-text")
        assert await page.run("document.activeElement.id") == "confirm-no"
        await page.press("Tab")
        assert await page.run("document.activeElement.id") == "confirm-yes"
        await page.press("Enter")
        await says(page, "#notes", "Close of EUR_USD: filled")
        await page.wait("!document.querySelector('#positions tbody tr')")


async def test_going_back_from_a_confirmation_does_nothing(stand: Stand) -> None:
    await stand.place_order(units="400")
    async with opened(stand) as page:
        await says(page, "#positions", "400")
        await click(page, "#positions button")
        await click(page, "#confirm-no")
        await click(page, "#kill")
        await click(page, "#confirm-no")
        assert await page.run("document.querySelector('#notes').children.length") == 0
        assert (await stand.call("GET", "/v1/positions"))[1]["positions"][0]["units"] == "400"
        assert (await stand.call("GET", "/v1/admin/state"))[1]["state"] == "active"


async def test_a_hostile_text_stays_a_text(stand: Stand) -> None:
    hostile = "<img/src=x/onerror=alert(1)>"
    await limit(stand, client_order_id=hostile)
    async with opened(stand) as page:
        await says(page, "#orders", hostile)
        assert await page.run("document.querySelectorAll('#orders img').length") == 0
        assert page.problems == []


async def test_no_script_of_another_kind_runs(stand: Stand) -> None:
    async with opened(stand) as page:
        await page.run(
            "window.ran = []; window.blocked = [];"
            "document.addEventListener('securitypolicyviolation', (e) => window.blocked.push(e.effectiveDirective));"
            "try { document.body.innerHTML = '<b>x</b>'; window.ran.push('markup') }"
            "catch { window.ran.push('refused') };"
            "fetch('http://127.0.0.1:9/').catch(() => {}); 0"
        )
        await page.wait("window.blocked.includes('connect-src')")
        assert await page.run("window.ran") == ["refused"]
        assert "require-trusted-types-for" in await page.run("window.blocked")


async def test_a_lost_stream_is_said_and_comes_back(stand: Stand) -> None:
    async with opened(stand) as page:
        await says(page, "#verdict-title", "Trading")
        assert stand.broker is not None
        stand.changed = {"api": {"port": int(stand.url.rsplit(":", 1)[1])}}
        await stand.broker.end(signal.SIGKILL)
        await says(page, "#verdict-title", "Not live")
        assert await page.run("document.title.startsWith('?')")
        await (await stand.start_broker()).event("ready")
        await says(page, "#verdict-title", "Trading")


async def test_a_standby_says_so_and_shows_what_the_owner_has(tmp_path: Path) -> None:
    async with two(tmp_path, standby="forward") as (owner, standby), opened(standby) as page:
        await says(page, "#verdict-title", "This broker is a standby")
        await owner.place_order(units="400")
        await says(page, "#fills", "400")
        await says(page, "#positions", "400")
        await click(page, "#positions button")
        await click(page, "#confirm-yes")
        await says(page, "#notes", "Close of EUR_USD: filled")


async def test_a_wrong_key_is_told_and_not_kept(stand: Stand) -> None:
    async with chromium_page(require_binary("chromium")) as page:
        await page.open(f"{stand.url}/ui")
        await page.wait("document.querySelector('#key')?.offsetParent")
        await enter(page, "no such key")
        await says(page, "#key-fault", "not known")
        assert await page.run("sessionStorage.length") == 0


async def test_a_reload_keeps_the_key_and_forgetting_drops_it_with_what_was_shown(stand: Stand) -> None:
    await stand.place_order(units="400")
    async with opened(stand) as page:
        await says(page, "#positions", "400")
        await page.command("Page.reload")
        await page.wait("document.querySelector('#link')?.dataset.state === 'live'")
        await click(page, "#sign-out")
        await page.wait("document.querySelector('#key').offsetParent")
        assert await page.run("[sessionStorage.length, localStorage.length, document.cookie]") == [0, 0, ""]
        assert "EUR_USD" not in str(await page.run("document.body.textContent"))


async def test_the_kill_switch_halts_cancels_and_closes_after_one_confirmation(stand: Stand) -> None:
    await stand.place_order(units="400")
    await limit(stand)
    async with opened(stand) as page:
        await says(page, "#positions", "400")
        await says(page, "#orders", "2,500")
        await click(page, "#kill")
        told = await text(page, "#confirm-text")
        assert ACCOUNT in told
        assert "1 open order" in told
        assert "1 position" in told
        await page.run("document.querySelector('#reason').value = 'test of the switch'")
        await click(page, "#confirm-yes")
        await says(page, "#notes", "Kill switch: trading is halted, and nothing is open.")
        await says(page, "#verdict-title", "Halted")
        await says(page, "#verdict-why", "test of the switch")
        await page.wait("!document.querySelector('#positions tbody tr, #orders tbody tr')")
