"""A listener that notes what producers report of secrets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class SecretsReports:
    """Reports in their order."""

    said: list[tuple[Any, ...]] = field(default_factory=list)

    def connected(self, producer_id: str) -> None:
        self.said.append(("connected", producer_id))

    def applied(self, producer_id: str, generation: int) -> None:
        self.said.append(("applied", producer_id, generation))

    def rejected(self, producer_id: str, generation: int, secret: str, reason: str, message: str) -> None:
        self.said.append(("rejected", producer_id, generation, secret, reason, message))

    def goodbye(self, producer_id: str) -> None:
        self.said.append(("goodbye", producer_id))
