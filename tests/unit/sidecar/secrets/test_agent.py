"""The agent as a whole, on a fake server that counts requests."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.failing_files import ERRORS, failing
from tests.unit.sidecar.secrets.agent_harness import DATABASE, VENUE, AgentHarness

MakeHarness = Callable[..., AgentHarness]


async def test_all_named_producers_must_prove_a_set(make_harness: MakeHarness) -> None:
    harness = make_harness(DATABASE, acknowledged_by=("broker", "pricer"))
    await harness.start()
    harness.agent.acknowledgements.applied("broker", 1)
    assert harness.agent.status().generation_acknowledged == 0
    harness.agent.acknowledgements.applied("pricer", 1)
    assert harness.agent.status().generation_acknowledged == 1


async def test_without_secrets_nothing_is_asked(make_harness: MakeHarness) -> None:
    harness = make_harness()
    harness.settings = type(harness.settings)()
    harness.agent = harness._agent()
    await harness.start()
    await harness.clock.advance(10)
    assert harness.vault.requests == []
    await harness.stop()


@pytest.mark.parametrize("error", ERRORS, ids=errno.errorcode.get)
async def test_agent_outlives_a_volume_that_fails_and_publishes_behind_it(
    make_harness: MakeHarness, error: int
) -> None:
    harness = make_harness(VENUE)
    await harness.start()
    assert harness.read("venue.json")["token"] == "one"
    with failing(error):
        harness.vault.write("venue", token="two")
        await harness.clock.advance(60)
        # The thread of a publication is real, and its time is not the clock's.
        await wait_for(lambda: harness.agent.status().last_error is not None, harness)
    await wait_for(lambda: harness.read("venue.json")["token"] == "two", harness)
    await harness.stop()


async def wait_for(is_so: Callable[[], bool], harness: AgentHarness) -> None:
    async with asyncio.timeout(30):
        while not is_so():
            await harness.clock.advance(1)
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("on_disk", ["published", "leases"])
async def test_where_a_directory_lies_on_a_disk_nothing_is_asked_of_vault(
    make_harness: MakeHarness, monkeypatch: pytest.MonkeyPatch, on_disk: str
) -> None:
    def kind(path: Path) -> str:
        return "ext4" if path.name == on_disk else "tmpfs"

    monkeypatch.setattr("sidecar.secrets.publish.directory_swap.filesystem_of", kind)
    harness = make_harness(require_tmpfs=True)
    await harness.start()
    await harness.clock.advance(60)
    error = harness.agent.status().last_error
    assert error is not None
    assert error.name == "volume_unusable"
    assert (harness.vault.requests, harness.generation) == ([], 0)
    await harness.kill()
