"""What the order path says of its health: named conditions, each with its reason and since when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from producer.health import Condition


class Conditions:
    """Latest value of each condition; `since` changes with `ok` and `reason` only."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._held: dict[str, Condition] = {}

    def set(self, name: str, *, ok: bool, reason: str, message: str = "", advisory: bool = False) -> None:
        """Says how it is now."""
        new = Condition(name=name, ok=ok, reason=reason, message=message, since=self._clock(), advisory=advisory)
        old = self._held.get(name)
        if old is not None and (old.ok, old.reason) == (ok, reason):
            new = replace(new, since=old.since)
        self._held[name] = new

    def all(self) -> list[Condition]:
        """Every condition, by name."""
        return [self._held[name] for name in sorted(self._held)]

    def fault(self) -> Condition | None:
        """The first that makes us not ready."""
        return next((item for item in self.all() if not item.ok and not item.advisory), None)
