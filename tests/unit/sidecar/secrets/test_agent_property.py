"""Whatever happens in whatever order: what the reader has proved works, and nothing is left at the end."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.secrets.errors import VaultError, VaultFault
from tests.unit.sidecar.secrets.agent_fixture import Scene
from tests.unit.sidecar.secrets.fake_vault import failure, on, unreachable


class Reader:
    """A broker: uses what it proved last."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.lease = ""

    def prove(self) -> None:
        if self._scene.generation:
            number = self._scene.read("database.json")["username"].removeprefix("user-")
            self.lease = f"database/creds/broker/{number}"
            self._scene.prove()

    def check(self) -> None:
        self._scene.vault.alive()
        assert not self.lease or self.lease in self._scene.vault.leases


async def restart(scene: Scene, seconds_between: float) -> None:
    await scene.kill()
    await scene.clock.advance(seconds_between)
    await scene.start()


async def lose(scene: Scene) -> None:
    """The server makes a credential, and its answer never comes."""
    scene.vault.loses = on("creds", lambda operation: VaultError(VaultFault.TIMEOUT, operation, ""))
    await scene.agent.rotate("database")
    await scene.clock.advance(0.1)
    scene.vault.loses = None


async def reject(scene: Scene) -> None:
    scene.agent.acknowledgements.rejected("broker", scene.generation, "database", "authentication_failed", "no")


async def write(scene: Scene) -> None:
    scene.vault.write("venue", token="next")


async def failing(scene: Scene, rule: Callable[[str, str], VaultError | None]) -> None:
    scene.vault.fails = rule
    await scene.clock.advance(20)
    scene.vault.fails = None


DEEDS: dict[str, Callable[[Scene], Awaitable[None]]] = {
    "wait": lambda scene: scene.clock.advance(3),
    "wait long": lambda scene: scene.clock.advance(400),
    "kill": lambda scene: restart(scene, 0),
    "restart late": lambda scene: restart(scene, 60),
    "reject": reject,
    "rotate": lambda scene: scene.agent.rotate("database"),
    "write": write,
    "outage": lambda scene: failing(scene, unreachable),
    "denied": lambda scene: failing(scene, on("creds", lambda operation: failure(403, operation))),
    "lost": lose,
}
PROVE = "prove"


async def play(place: Path, deeds: list[str]) -> None:
    scene = Scene(place)
    reader = Reader(scene)
    await scene.start()
    for deed in deeds:
        if deed == PROVE:
            reader.prove()
        else:
            await DEEDS[deed](scene)
        await scene.clock.advance(0.1)
        reader.check()
    await scene.clock.advance(70)
    reader.prove()
    await scene.clock.advance(70)
    reader.prove()
    await scene.clock.advance(2)
    reader.check()
    assert scene.vault.alive() == (1, 1)
    assert (scene.agent.status().sessions, scene.agent.status().leases) == (1, 1)
    await scene.kill()


async def at_once(function: Callable[..., Any], *arguments: Any) -> Any:
    """In place of a thread, which would not wait on a fake clock."""
    return function(*arguments)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from([PROVE, *DEEDS]), max_size=14))
def test_what_is_proved_works_and_nothing_is_left(deeds: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name, mock.patch("asyncio.to_thread", at_once):
        asyncio.run(play(Path(name), deeds))
