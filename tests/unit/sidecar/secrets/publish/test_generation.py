"""Generations over time: whole, swapped at once, and kept while the volume refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sidecar.secrets.errors import PublishError
from sidecar.secrets.publish.directory_swap import GenerationDirectory
from tests.unit.sidecar.secrets.agent_harness import DATABASE, VENUE, AgentHarness
from tests.unit.sidecar.secrets.fake_vault import failure, on, unreachable

MakeHarness = Callable[..., AgentHarness]


async def test_a_set_is_published_whole_or_not_at_all(make_harness: MakeHarness) -> None:
    harness = make_harness()
    harness.vault.fails = on("venue", lambda operation: failure(403, operation))
    await harness.start()
    await harness.clock.advance(30)
    assert harness.generation == 0
    assert not (harness.place / "published" / "database.json").exists()
    harness.vault.fails = None
    await harness.clock.advance(16)
    assert harness.generation == 1


async def test_a_new_version_is_published_within_the_interval(make_harness: MakeHarness) -> None:
    harness = make_harness()
    await harness.start()
    harness.vault.write("venue", token="two")
    await harness.clock.advance(2.1)
    assert harness.read("venue.json") == {"token": "two"}


async def test_a_predecessors_kv_set_stands_while_the_server_is_away(make_harness: MakeHarness) -> None:
    harness = make_harness(VENUE)
    await harness.start()
    await harness.kill()
    harness.vault.fails = unreachable
    await harness.start()
    await harness.clock.advance(30)
    status = harness.agent.status()
    assert (status.generation_published, status.secrets[0].state) == (1, "carried")
    assert status.token.last_error is not None
    assert status.token.last_error.name == "unreachable"


async def test_a_secret_that_fails_at_a_restart_holds_up_no_other(make_harness: MakeHarness) -> None:
    harness = make_harness()
    await harness.start()
    await harness.kill()
    harness.vault.fails = on("venue", lambda operation: failure(403, operation))
    await harness.start()
    await harness.clock.advance(2)
    assert harness.generation == 2
    assert harness.read("venue.json") == {"token": "one"}


async def test_a_reader_may_be_faster_than_the_publisher(
    make_harness: MakeHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = make_harness(DATABASE)
    await harness.start()
    harness.prove()
    publish = GenerationDirectory.publish

    def publish_and_be_read(*arguments: Any) -> None:
        publish(*arguments)
        harness.agent.acknowledgements.applied("broker", 2)

    monkeypatch.setattr(GenerationDirectory, "publish", publish_and_be_read)
    await harness.agent.rotate("database")
    await harness.clock.advance(2)
    assert harness.agent.status().stage == "acknowledged"
    assert harness.vault.alive() == (1, 1)


async def test_a_set_that_is_being_made_is_not_swept(
    make_harness: MakeHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = make_harness(VENUE)
    await harness.start()
    swap = GenerationDirectory._swap

    def swap_late(publisher: GenerationDirectory, target: str) -> None:
        harness.agent._publisher.sweep()
        swap(publisher, target)

    monkeypatch.setattr(GenerationDirectory, "_swap", swap_late)
    harness.vault.write("venue", token="two")
    await harness.clock.advance(2.1)
    assert harness.read("venue.json") == {"token": "two"}


async def test_a_full_volume_is_reported_and_tried_again(
    make_harness: MakeHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = make_harness(VENUE)
    await harness.start()

    def full(*_: object) -> None:
        raise PublishError("no space")

    with monkeypatch.context() as patch:
        patch.setattr(GenerationDirectory, "publish", full)
        harness.vault.write("venue", token="two")
        await harness.clock.advance(5)
        assert harness.agent.status().last_error is not None
    await harness.clock.advance(16)
    assert harness.read("venue.json") == {"token": "two"}
    assert harness.agent.status().last_error is None
