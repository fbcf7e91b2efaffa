"""An agent on a fake server and a fake clock."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sidecar.secrets.agent import SecretsAgent
from sidecar.secrets.audit import AuditEvent
from sidecar.secrets.settings import AuthSettings, FileSettings, SecretSettings, SecretsSettings
from tests.unit.sidecar.secrets.fake_clock import FakeClock
from tests.unit.sidecar.secrets.fake_vault import ROLE_ID, SECRET_ID, FakeVault

VENUE = SecretSettings(name="venue", source="kv", path="venue", files=(FileSettings(name="venue.json"),))
KEYS = SecretSettings(name="keys", source="kv", path="keys", files=(FileSettings(name="keys.json"),))
DATABASE = SecretSettings(
    name="database", source="leased", path="database/creds/broker", files=(FileSettings(name="database.json"),)
)
STATIC = SecretSettings(name="static", source="static_role", role="app", files=(FileSettings(name="static.json"),))
SECOND = replace(DATABASE, name="second", path="database/creds/second", files=(FileSettings(name="second.json"),))


def settings_in(place: Path, *secrets: SecretSettings, **changes: Any) -> SecretsSettings:
    """Settings whose files lie in `place`."""
    (place / "role-id").write_text(ROLE_ID)
    (place / "secret-id").write_text(SECRET_ID + "\n")
    settings = SecretsSettings(
        address="http://127.0.0.1:8200",
        auth=AuthSettings(method="approle", role_id_file=place / "role-id", secret_id_file=place / "secret-id"),
        directory=place / "published",
        lease_journal=place / "leases",
        require_tmpfs=False,
        secrets=secrets or (VENUE, DATABASE),
    )
    return replace(settings, **changes)


class AuditRecorder(list[AuditEvent]):
    """A sink that keeps all events."""

    def add(self, event: AuditEvent) -> None:
        self.append(event)


class AgentHarness:
    """An agent that can be started, killed and started again on what it left."""

    def __init__(self, place: Path, *secrets: SecretSettings, **changes: Any) -> None:
        self.place = place
        self.clock = FakeClock()
        self.vault = FakeVault(self.clock)
        self.vault.write("venue", token="one")
        self.vault.write("keys", keys=[])
        self.settings = settings_in(place, *secrets, **changes)
        self.audit = AuditRecorder()
        self.agent = self._agent()
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def _agent(self) -> SecretsAgent:
        return SecretsAgent(self.settings, audit=self.audit, caller=self.vault, clock=self.clock)

    async def start(self) -> None:
        """Starts the agent, or a successor on what the last one left."""
        if self._task:
            self.agent = self._agent()
        self._stop = asyncio.Event()
        self._task = asyncio.create_task(self.agent.run(self._stop))
        await self.clock.advance(0.1)

    async def kill(self) -> None:
        """Ends it as a signal 9 does: nothing is done any more."""
        assert self._task
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def stop(self) -> None:
        """Ends it in order."""
        assert self._task
        self._stop.set()
        await self.clock.settle()
        await self._task

    def read(self, file: str) -> dict[str, Any]:
        """A published file."""
        return dict(json.loads((self.place / "published" / file).read_text()))

    @property
    def generation(self) -> int:
        return self.agent.status().generation_published

    def prove(self) -> None:
        """The reader proves what is published."""
        self.agent.acknowledgements.applied("broker", self.generation)

    def audited(self, name: str) -> list[AuditEvent]:
        """Values that were recorded under a name."""
        return [event for event in self.audit if event.name == name]


def most_in_a_minute(times: Sequence[float]) -> int:
    """The fullest minute."""
    return max((sum(start <= time < start + 60 for time in times) for start in times), default=0)
