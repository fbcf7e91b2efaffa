"""Whatever happens in whatever order: what the reader has proved works, and nothing is left at the end."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.secrets.errors import VaultError, VaultFault
from tests.unit.sidecar.secrets.agent_harness import AgentHarness
from tests.unit.sidecar.secrets.fake_vault import DEAD, failure, foreign, on, unreachable


class Reader:
    """A broker: uses what it proved last."""

    def __init__(self, harness: AgentHarness) -> None:
        self._scene = harness
        self.lease = ""

    def prove(self) -> None:
        if self._scene.generation:
            number = self._scene.read("database.json")["username"].removeprefix("user-")
            self.lease = f"database/creds/broker/{number}"
            self._scene.prove()

    def check(self) -> None:
        self._scene.vault.alive()
        assert not self.lease or self.lease in self._scene.vault.leases


async def restart(harness: AgentHarness, seconds_between: float) -> None:
    await harness.kill()
    await harness.clock.advance(seconds_between)
    await harness.start()


async def lose(harness: AgentHarness) -> None:
    """The server makes a credential, and its answer never comes."""
    harness.vault.loses = on("creds", lambda operation: VaultError(VaultFault.TIMEOUT, operation, ""))
    await harness.agent.rotate("database")
    await harness.clock.advance(0.1)
    harness.vault.loses = None


async def reject(harness: AgentHarness) -> None:
    harness.agent.acknowledgements.rejected("broker", harness.generation, "database", "authentication_failed", "no")


async def write(harness: AgentHarness) -> None:
    harness.vault.write("venue", token="next")


async def failing(harness: AgentHarness, rule: Callable[[str, str], VaultError | None]) -> None:
    harness.vault.fails = rule
    await harness.clock.advance(20)
    harness.vault.fails = None


def failure_of(status: int, words: str | None = None) -> Callable[[str], VaultError]:
    return lambda operation: failure(status, operation, words=words)


DEEDS: dict[str, Callable[[AgentHarness], Awaitable[None]]] = {
    "wait": lambda harness: harness.clock.advance(3),
    "wait long": lambda harness: harness.clock.advance(400),
    "kill": lambda harness: restart(harness, 0),
    "restart late": lambda harness: restart(harness, 60),
    "reject": reject,
    "rotate": lambda harness: harness.agent.rotate("database"),
    "write": write,
    "outage": lambda harness: failing(harness, unreachable),
    "denied": lambda harness: failing(harness, on("creds", lambda operation: failure(403, operation))),
    "lost": lose,
    "proxy denies": lambda harness: failing(harness, lambda _, path: foreign(403, path)),
    "proxy knows no path": lambda harness: failing(harness, lambda _, path: foreign(404, path)),
    "right missing": lambda harness: failing(harness, on("auth/token", failure_of(403))),
    "called dead": lambda harness: failing(harness, on("lookup-self", failure_of(403, words=DEAD))),
    "server fails": lambda harness: failing(harness, on("creds", failure_of(500))),
}
PROVE = "prove"


async def play(place: Path, deeds: list[str]) -> None:
    harness = AgentHarness(place)
    reader = Reader(harness)
    await harness.start()
    for deed in deeds:
        if deed == PROVE:
            reader.prove()
        else:
            await DEEDS[deed](harness)
        await harness.clock.advance(0.1)
        reader.check()
    await harness.clock.advance(70)
    reader.prove()
    await harness.clock.advance(70)
    reader.prove()
    await harness.clock.advance(2)
    reader.check()
    assert harness.vault.alive() == (1, 1)
    assert (harness.agent.status().sessions, harness.agent.status().leases) == (1, 1)
    await harness.kill()


async def at_once(function: Callable[..., Any], *arguments: Any) -> Any:
    """In place of a thread, which would not wait on a fake clock."""
    return function(*arguments)


# Larger with `make soak`.
@settings(max_examples=int(os.environ.get("AGENT_RUNS", "25")), deadline=None)
@given(st.lists(st.sampled_from([PROVE, *DEEDS]), max_size=14))
def test_what_is_proved_works_and_nothing_is_left(deeds: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name, mock.patch("asyncio.to_thread", at_once):
        asyncio.run(play(Path(name), deeds))
