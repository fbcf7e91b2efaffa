"""What was done with secrets lately, for the console's timeline; the records hold no secret."""

from __future__ import annotations

from collections import deque
from typing import Any

from sidecar.secrets.audit import AuditEvent, log_audit

KEPT = 200


class Deeds:
    """Keeps the latest audit events, and writes each to the log."""

    def __init__(self, kept: int = KEPT) -> None:
        self._events: deque[AuditEvent] = deque(maxlen=kept)

    def add(self, event: AuditEvent) -> None:
        """Takes an event (what the agent calls)."""
        log_audit(event)
        self._events.append(event)

    def document(self) -> list[dict[str, Any]]:
        """The events as JSON has them, the latest first."""
        return [_json(event) for event in reversed(self._events)]


def _json(event: AuditEvent) -> dict[str, Any]:
    return {
        "time": event.time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "deed": event.name.removeprefix("secrets."),
        "outcome": event.outcome,
        "secret": event.secret,
        "generation": event.generation,
        "attributes": dict(event.attributes),
    }
