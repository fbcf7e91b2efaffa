"""A listener that notes what producers report of secrets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class SecretsReports:
    """Reports in their order."""

    said: list[tuple[Any, ...]] = field(default_factory=list)
    counts: bool = True
    """False for a listener to which no producer's word counts."""

    def connected(self, producer_id: str) -> None:
        self.said.append(("connected", producer_id))

    def applied(self, producer_id: str, generation: int) -> bool:
        self.said.append(("applied", producer_id, generation))
        return self.counts

    def rejected(self, producer_id: str, generation: int, secret: str, reason: str, message: str) -> bool:
        self.said.append(("rejected", producer_id, generation, secret, reason, message))
        return self.counts

    def goodbye(self, producer_id: str) -> None:
        self.said.append(("goodbye", producer_id))
