"""The page at /docs in a real browser, beside a running broker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.chromium import Page, chromium_page
from tests.integration.api.broker_process import Stand, standing
from tests.require import require_binary

pytestmark = pytest.mark.real


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
