"""Records of what the agent did with secrets, without the secrets."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sidecar.secrets.clock import Clock

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """One deed. `request_id` is the server's, and stands as `request.id` in its own audit log."""

    time: datetime
    name: str
    outcome: str = "ok"
    secret: str = ""
    generation: int | None = None
    request_id: str = ""
    attributes: Mapping[str, str | float] = field(default_factory=dict)

    def flat(self) -> dict[str, str | float]:
        """All that is set, as one level of names."""
        head = {"outcome": self.outcome, "secret": self.secret, "request_id": self.request_id}
        found: dict[str, str | float] = {key: value for key, value in head.items() if value}
        if self.generation is not None:
            found["generation"] = self.generation
        return found | dict(self.attributes)


class AuditTrail:
    """Dates events and hands them on."""

    def __init__(self, clock: Clock, on_audit: Callable[[AuditEvent], None]) -> None:
        self._clock, self._on_audit = clock, on_audit

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
        """Hands on what was done; attributes that are empty or 0 are left out."""
        self._on_audit(
            AuditEvent(
                time=self._clock.wall(),
                name=name,
                outcome=outcome,
                secret=secret,
                generation=generation,
                request_id=request_id,
                attributes={key: value for key, value in attributes.items() if value},
            )
        )


def hashed(identifier: str) -> str:
    """A lease id or accessor for a log: what is random in it cannot be guessed back from its digest."""
    return hashlib.sha256(identifier.encode()).hexdigest()[:32] if identifier else ""


def log_audit(event: AuditEvent) -> None:
    """Writes the event to the process's log."""
    level = logging.INFO if event.outcome == "ok" else logging.WARNING
    _log.log(level, event.name, extra=event.flat())
