"""The console beside real processes, in the four states that an operator meets; looked at in a real browser.

`PICTURES=docs/images python -m pytest tests/e2e/test_console.py` lets each state last, and keeps the pictures.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from devstack.flow import Flow
from devstack.stack import Stack
from tests.chromium import Page, chromium_page
from tests.e2e.stack_fixture import running_stack
from tests.require import require_binary

pytestmark = [pytest.mark.real, pytest.mark.slow]
PICTURES = os.environ.get("PICTURES", "")
EVERY_STATE = bool(PICTURES) or os.environ.get("CONSOLE_STATES") == "all"
"""A server that hangs is noticed by its deadline, which takes a minute in all."""
BEFORE_S, DURING_S = (60.0, 15.0) if PICTURES else (0.0, 0.0)
STATE_S = 45.0
HANGS = {
    "collector": ("Degraded", "CollectorReachable", "collector away"),
    "simulator": ("Not ready", "/readyz fails", "producer not ready"),
}
LOOKS = (("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390))


@asynccontextmanager
async def flowing(stack: Stack) -> AsyncIterator[None]:
    stop = asyncio.Event()
    flow = Flow(base_url=stack.addresses["api"], api_key=stack.api_key, chance=random.Random(1))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(flow.run(5.0, stop))
        yield
        stop.set()


async def says(page: Page, title: str, cause: str, fault: str = "") -> None:
    """Waits until the page says what is wrong, why, and what to do about which fault, in its first section."""
    await page.wait(f"document.querySelector('#verdict-title')?.innerText === {title!r}", STATE_S)
    await page.wait(f"document.querySelector('#verdict')?.innerText.includes({cause!r})", STATE_S)
    await page.wait(f"document.querySelector('#todo')?.innerText.includes({fault!r})", STATE_S)


async def look(page: Page, name: str, place: Path) -> None:
    await asyncio.sleep(DURING_S)
    for scheme, width in LOOKS:
        await page.look(width=width, height=900, scheme=scheme, phone=width < 500)
        assert await page.run("document.documentElement.scrollWidth") == width
        picture = place / f"console-{name}-{scheme}{'-phone' if width < 500 else ''}.png"
        await page.screenshot(picture, whole=not PICTURES)
    await page.look(width=1280, height=900)


async def put_token(stack: Stack, token: str) -> None:
    vault = stack.vault
    assert vault is not None
    data: dict[str, Any] = (await vault.call("GET", "secret/data/broker/venue"))["data"]["data"]
    await vault.call("POST", "secret/data/broker/venue", {"data": {**data, "token": token}})


async def refused(stack: Stack, page: Page, place: Path) -> None:
    good = (stack.place.state / "simulator-token").read_text()
    await put_token(stack, "revoked-by-mistake")
    await says(page, "Degraded", "SecretsAccepted", "secret rejected")
    await look(page, "secret-rejected", place)
    await put_token(stack, good)
    await says(page, "All is well", "/readyz passes")


async def hangs(stack: Stack, page: Page, place: Path, name: str) -> None:
    title, cause, fault = HANGS[name]
    process = stack.children[name].process
    process.send_signal(signal.SIGSTOP)
    await says(page, title, cause, fault)
    await look(page, "venue-down" if name == "simulator" else f"{name}-down", place)
    process.send_signal(signal.SIGCONT)
    await says(page, "All is well", "/readyz passes")


@pytest.mark.timeout(900)
async def test_each_state_of_the_stack_is_said_with_its_cause(tmp_path: Path) -> None:
    place = Path(PICTURES).resolve() if PICTURES else tmp_path
    program = require_binary("chromium")
    async with running_stack() as stack, flowing(stack), chromium_page(program) as page:
        await page.look(width=1280, height=900)
        await page.open(stack.addresses["console"])
        await says(page, "All is well", "/readyz passes")
        await asyncio.sleep(BEFORE_S)
        await look(page, "healthy", place)
        await refused(stack, page, place)
        if EVERY_STATE:
            await hangs(stack, page, place, "collector")
            await hangs(stack, page, place, "simulator")
        assert page.problems == []
