"""The secrets' agent as the sidecar uses it, and what it is told of producers."""

from __future__ import annotations

import asyncio
from typing import Protocol

from sidecar.ingest.producers import Producers, SecretsRefusal
from sidecar.secrets.status import SecretsStatus


class Agent(Protocol):
    """The secrets' agent."""

    async def run(self, stop: asyncio.Event) -> None:
        """Logs in, publishes, keeps fresh."""

    async def rotate(self, name: str | None) -> None:
        """Reads a secret again now, or all."""

    def connected(self, producer_id: str) -> None:
        """A producer is there, and may read secrets."""

    def status(self) -> SecretsStatus:
        """What it holds, without values."""

    def applied(self, producer_id: str, generation: int) -> None:
        """A producer has proved a generation."""

    def rejected(self, producer_id: str, generation: int, secret: str, reason: str, message: str) -> None:
        """A producer cannot use a generation."""

    def goodbye(self, producer_id: str) -> None:
        """A producer has ended in order."""


class Messenger:
    """Tells the agent what producers say of secrets, at once, and at each `look` who has come."""

    def __init__(self, agent: Agent, producers: Producers) -> None:
        self._agent = agent
        self._producers = producers
        self._present: dict[str, int] = {}
        producers.on_secrets_applied(agent.applied)
        producers.on_secrets_rejected(self._rejected)
        producers.on_goodbye(self._goodbye)

    def look(self) -> None:
        """Tells of each producer that has connected since the last look."""
        present = {item.producer_id: item.changed_ns for item in self._producers.all() if item.connected}
        for producer_id, since_ns in present.items():
            if self._present.get(producer_id) != since_ns:
                self._agent.connected(producer_id)
        self._present = present

    def _rejected(self, producer_id: str, refusal: SecretsRefusal) -> None:
        self._agent.rejected(producer_id, refusal.generation, refusal.secret, refusal.reason, refusal.message)

    def _goodbye(self, producer_id: str, _: str) -> None:
        # Who came and left between two looks must have come first, for a goodbye to count.
        self.look()
        self._agent.goodbye(producer_id)
