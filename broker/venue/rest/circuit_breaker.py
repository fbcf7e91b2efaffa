"""A breaker for new orders: after failures in a row the venue is left alone for a while.

It gates opens only, and never a cancel, a close or a question: those reduce risk or tell the truth.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace


class CircuitState(StrEnum):
    """Whether new orders go through."""

    CLOSED = "closed"
    """They do."""
    OPEN = "open"
    """They do not."""
    HALF_OPEN = "half_open"
    """One may try."""


class Circuit(Struct, frozen=True, kw_only=True):
    """The breaker's state; times are seconds on the caller's clock."""

    failures_to_open: int
    pause_s: float
    failures: int = 0
    opened_s: float | None = None
    trying: bool = False

    def state(self, now_s: float) -> CircuitState:
        """What holds now."""
        if self.opened_s is None:
            return CircuitState.CLOSED
        return CircuitState.OPEN if now_s - self.opened_s < self.pause_s else CircuitState.HALF_OPEN

    def allows(self, now_s: float) -> bool:
        """Whether a new order may go."""
        state = self.state(now_s)
        return state is CircuitState.CLOSED or (state is CircuitState.HALF_OPEN and not self.trying)

    def sent(self, now_s: float) -> Circuit:
        """After an order went: in the half-open state it is the one that tries."""
        return replace(self, trying=self.state(now_s) is CircuitState.HALF_OPEN)

    def after(self, now_s: float, *, failed: bool) -> Circuit:
        """After an answer, or none. A refusal is no failure: the venue works."""
        if not failed:
            return replace(self, failures=0, opened_s=None, trying=False)
        failures = self.failures + 1
        opens = failures >= self.failures_to_open or self.opened_s is not None
        return replace(self, failures=failures, opened_s=now_s if opens else None, trying=False)
