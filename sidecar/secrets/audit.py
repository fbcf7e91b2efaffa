"""Audit trail: records of the agent's actions on secrets, without the secrets."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from sidecar.secrets.clock import Clock

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One action. `request_id` is Vault's, the same as `request.id` in Vault's own audit log."""

    time: datetime
    name: str
    outcome: str = "ok"
    secret: str = ""
    generation: int | None = None
    request_id: str = ""
    attributes: Mapping[str, str | float] = field(default_factory=dict)

    def flat(self) -> dict[str, str | float]:
        """Return the fields that are set, on one level."""
        head = {"outcome": self.outcome, "secret": self.secret, "request_id": self.request_id}
        found: dict[str, str | float] = {key: value for key, value in head.items() if value}
        if self.generation is not None:
            found["generation"] = self.generation
        return found | dict(self.attributes)


class AuditSink(Protocol):
    """Receiver of audit events."""

    def add(self, event: AuditEvent) -> None:
        """Take an event; must not wait."""


class AuditTrail:
    """Dates events and passes them to the sink; without one, to the process's log."""

    def __init__(self, clock: Clock, sink: AuditSink | None) -> None:
        self._clock, self._sink = clock, sink

    def record(
        self,
        name: str,
        *,
        outcome: str = "ok",
        secret: str = "",
        generation: int | None = None,
        request_id: str = "",
        **attributes: str | float,
    ) -> None:
        """Record an action; attributes that are empty or 0 are left out."""
        told = {key: value for key, value in attributes.items() if value}
        event = AuditEvent(self._clock.wall(), name, outcome, secret, generation, request_id, told)
        if self._sink is None:
            log_audit(event)
        else:
            self._sink.add(event)


def hashed(identifier: str) -> str:
    """Digest of a lease id or accessor for the log: long random ids cannot be guessed back from it."""
    return hashlib.sha256(identifier.encode()).hexdigest()[:32] if identifier else ""


def log_audit(event: AuditEvent) -> None:
    """Write an event to the process's log."""
    level = logging.INFO if event.outcome == "ok" else logging.WARNING
    _log.log(level, event.name, extra=event.flat())
