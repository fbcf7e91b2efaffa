"""The page at /docs in a real browser, beside a running broker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.chromium import Page, chromium_page
from tests.integration.api.stand import Stand, standing
from tests.require import require_binary
from tests.unit.broker.volume import KEYS

pytestmark = pytest.mark.real
AUTHORIZE = f"""
(async () => {{
  const click = (node) => node.dispatchEvent(new MouseEvent("click", {{bubbles: true}}));
  click(document.querySelector(".btn.authorize"));
  await new Promise((done) => setTimeout(done, 300));
  const input = [...document.querySelectorAll(".auth-container input")].find((node) => node.type !== "password");
  const field = input || document.querySelector(".auth-container input");
  Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set.call(field, "{KEYS["boss"]}");
  field.dispatchEvent(new Event("input", {{bubbles: true}}));
  click(document.querySelector(".auth-btn-wrapper .authorize"));
  click(document.querySelector(".btn-done"));
}})()
"""


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[tuple[Page, Stand]]:
    program = require_binary("chromium")
    async with standing(tmp_path) as stand, chromium_page(program) as made:
        await stand.start_ready()
        await made.look(width=1280, height=1000)
        await made.open(f"{stand.url}/docs")
        await made.wait("document.querySelectorAll('.opblock').length > 10")
        yield made, stand


async def test_page_shows_every_operation_and_asks_no_other_host(page: tuple[Page, Stand]) -> None:
    shown, stand = page
    async with stand.session.get(f"{stand.url}/openapi.json") as answer:
        document = await answer.json()
    operations = sum(len(path) for path in document["paths"].values())

    assert await shown.run("document.querySelectorAll('.opblock').length") == operations
    title = await shown.run("document.querySelector('.title').innerText")
    assert title.startswith("Broker order API")
    assert all(url.startswith((stand.url, "data:")) for url in shown.requested if url != "about:blank")
    assert shown.problems == []


async def test_an_operation_can_be_tried_with_a_key(page: tuple[Page, Stand]) -> None:
    shown, _ = page
    await shown.run(AUTHORIZE)
    block = "document.querySelector('#operations-account-get_account')"
    await shown.run(f"{block}.querySelector('.opblock-summary-control').click()")
    await shown.wait(f"{block}.querySelector('.execute')")
    await shown.run(f"{block}.querySelector('.execute').click()")
    await shown.wait(f"{block}.innerText.includes('Server response')")

    answer = (await shown.run(f"{block}.innerText")).partition("Server response")[2].split()
    assert answer[:3] == ["Code", "Details", "200"]
