"""Every block marked `sh` in the how-to pages is run as it stands, against a stack of real processes."""

from __future__ import annotations

import asyncio
import os
import random
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from devstack.flow import Flow
from devstack.stack import Stack
from tests.e2e.stack_fixture import running_stack

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]
ROOT = Path(__file__).resolve().parents[2]
PAGES = ("add-event", "add-secret", "rotate", "debug")
BLOCK = re.compile(r"^( *)```sh\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
WELL_KNOWN = {"8000": "probes", "9464": "metrics"}
"""Ports that the pages name, for those that the stack was given."""


def blocks() -> list[tuple[str, str]]:
    texts = [(page, (ROOT / "docs" / "how-to" / f"{page}.md").read_text()) for page in PAGES]
    return [
        (page, found[2].replace("\n" + found[1], "\n").strip())
        for page, text in texts
        for found in BLOCK.finditer(text)
    ]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack() -> AsyncIterator[Stack]:
    async with running_stack() as running:
        yield running


def surroundings(stack: Stack) -> dict[str, str]:
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}",
        "SIDECAR_CONSOLE": stack.addresses["console"],
        "SIDECAR_CONFIG": str(stack.place.state / "sidecar.toml"),
    }


@pytest.mark.parametrize(("page", "block"), blocks())
async def test_a_block_ends_well(stack: Stack, page: str, block: str) -> None:
    # The page on telemetry is compared, not written: a test leaves the tree as it is.
    script = block.replace("-m broker.telemetry.document", "-m broker.telemetry.document --check")
    for port, name in WELL_KNOWN.items():
        script = script.replace(f"http://127.0.0.1:{port}", stack.addresses[name])
    placed = asyncio.create_task(place_orders(stack))
    try:
        process = await asyncio.create_subprocess_exec(
            "bash", "-euo", "pipefail", "-c", script, cwd=ROOT, env=surroundings(stack),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await process.communicate()
    finally:
        placed.cancel()
    assert process.returncode == 0, f"{page}:\n{script}\n{output.decode()}"
    assert output


async def place_orders(stack: Stack) -> None:
    """A little flow, for commands that wait for an event."""
    flow = Flow(base_url=stack.addresses["api"], api_key=stack.api_key, chance=random.Random(1))
    await flow.run(5.0, asyncio.Event())
