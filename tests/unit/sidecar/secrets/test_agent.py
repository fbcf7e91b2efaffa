"""The agent as a whole, on a fake server that counts requests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.sidecar.secrets.agent_harness import DATABASE, AgentHarness

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
