"""Health conditions of a process or an account: named, each with its reason and the time of its last change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from producer.health import Condition


class Conditions:
    """Latest value of each condition; `since` changes with `ok` and `reason` only, not with the message."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._held: dict[str, Condition] = {}

    def set(self, name: str, *, ok: bool, reason: str, message: str = "", advisory: bool = False) -> None:
        """Set a condition. An `advisory` one does not make the process not ready."""
        new = Condition(name=name, ok=ok, reason=reason, message=message, since=self._clock(), advisory=advisory)
        old = self._held.get(name)
        if old is not None and (old.ok, old.reason) == (ok, reason):
            new = replace(new, since=old.since)
        self._held[name] = new

    def all(self) -> list[Condition]:
        """Every condition, by name."""
        return [self._held[name] for name in sorted(self._held)]

    def fault(self) -> Condition | None:
        """The first condition that makes the process not ready."""
        return next((item for item in self.all() if not item.ok and not item.advisory), None)
