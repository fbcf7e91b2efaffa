"""Shared by the agent's tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from sidecar.secrets.settings import SecretSettings
from tests.unit.sidecar.secrets.agent_harness import AgentHarness


@pytest.fixture
async def make_harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[..., AgentHarness]]:
    """Makes harnesses; publishing happens at once, for real threads do not wait on a fake clock.

    Waits look up rarely: a fake clock is not suspended unless a test says so.
    """

    async def at_once(function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)

    monkeypatch.setattr(asyncio, "to_thread", at_once)
    monkeypatch.setattr("sidecar.secrets.clock.TICK_S", 30.0)
    made: list[AgentHarness] = []

    def make(*secrets: SecretSettings, **changes: Any) -> AgentHarness:
        made.append(AgentHarness(tmp_path, *secrets, **changes))
        return made[-1]

    yield make
    for harness in made:
        if harness._task and not harness._task.done():
            await harness.kill()
