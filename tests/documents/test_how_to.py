"""Every block marked `sh` in the pages is run as it stands, against a stack of real processes."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from devstack.flow import Flow
from devstack.stack import Stack
from tests.documents.blocks import ROOT, Block, blocks
from tests.e2e.stack_fixture import running_stack

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]
WELL_KNOWN = {"8000": "probes", "9464": "metrics", "8080": "api"}
"""Ports that the pages name, for those that the stack was given."""


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


@pytest.mark.parametrize("block", blocks("sh"), ids=lambda block: block.name)
async def test_a_block_ends_well(stack: Stack, block: Block, tmp_path: Path) -> None:
    # The page on telemetry is compared, not written: a test leaves the tree as it is.
    script = block.text.replace("-m tools.reference.events", "-m tools.reference.events --check")
    for port, name in WELL_KNOWN.items():
        script = script.replace(f"http://127.0.0.1:{port}", stack.addresses[name])
    (tmp_path / "key").write_text(stack.api_key)
    script = script.replace("$(cat key)", f"$(cat {tmp_path / 'key'})")
    placed = asyncio.create_task(place_orders(stack))
    try:
        process = await asyncio.create_subprocess_exec(
            "bash", "-euo", "pipefail", "-c", script, cwd=ROOT, env=surroundings(stack),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await process.communicate()
    finally:
        placed.cancel()
    assert process.returncode == 0, f"{block.name}:\n{script}\n{output.decode()}"
    assert output


async def place_orders(stack: Stack) -> None:
    """A little flow, for commands that wait for an event."""
    flow = Flow(base_url=stack.addresses["api"], api_key=stack.api_key, chance=random.Random(1))
    await flow.run(5.0, asyncio.Event())
