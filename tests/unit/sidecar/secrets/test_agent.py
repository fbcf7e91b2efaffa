"""The agent as a whole, on a fake server that counts requests."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from sidecar.secrets.settings import SecretSettings
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


async def test_a_producer_that_is_not_named_has_no_say_in_secrets(make_harness: MakeHarness) -> None:
    harness = make_harness(DATABASE, acknowledged_by=("broker",))
    await harness.start()
    told = harness.agent.acknowledgements
    told.connected("mallory")
    assert not told.applied("mallory", 1)
    assert not told.rejected("mallory", 1, "database", "lie", "a lie")
    told.goodbye("mallory")
    status = harness.agent.status()
    assert (status.generation_acknowledged, status.rejection, dict(status.ignored)) == (0, None, {"not_named": 2})
    assert not told.abandoned
    assert told.applied("broker", 1)
    assert harness.agent.status().generation_acknowledged == 1


@pytest.mark.parametrize(
    ("secrets", "named", "is_anyone_heard"),
    [((DATABASE,), (), True), ((DATABASE,), ("broker",), False), ((VENUE,), (), False)],
    ids=["leased", "named", "kv"],
)
async def test_leased_secrets_without_a_named_reader_are_warned_about(
    make_harness: MakeHarness,
    caplog: pytest.LogCaptureFixture,
    secrets: tuple[SecretSettings, ...],
    named: tuple[str, ...],
    is_anyone_heard: bool,
) -> None:
    harness = make_harness(*secrets, acknowledged_by=named)
    await harness.start()
    assert harness.agent.status().is_anyone_heard is is_anyone_heard
    assert [item.message for item in caplog.records if item.name == "sidecar.secrets.agent"] == [
        "secrets.anyone_is_heard"
    ] * is_anyone_heard


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
