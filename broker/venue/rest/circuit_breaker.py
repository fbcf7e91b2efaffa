"""Circuit breaker for new orders: after failures in a row it leaves the venue alone for a while.

It holds back opens only, never a cancel, a close or a read: those reduce risk or tell the truth.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace


class CircuitState(StrEnum):
    """State of the breaker."""

    CLOSED = "closed"
    """New orders go through."""
    OPEN = "open"
    """New orders are refused."""
    HALF_OPEN = "half_open"
    """One order may try."""


class Circuit(Struct, frozen=True, kw_only=True):
    """The breaker's state; times are seconds on the caller's clock."""

    failures_to_open: int
    pause_s: float
    failures: int = 0
    opened_s: float | None = None
    trying: bool = False

    def state(self, now_s: float) -> CircuitState:
        """State at `now_s`."""
        if self.opened_s is None:
            return CircuitState.CLOSED
        return CircuitState.OPEN if now_s - self.opened_s < self.pause_s else CircuitState.HALF_OPEN

    def allows(self, now_s: float) -> bool:
        """True where a new order may go."""
        state = self.state(now_s)
        # One at a time while half open: a venue that is just coming back must not meet a burst.
        return state is CircuitState.CLOSED or (state is CircuitState.HALF_OPEN and not self.trying)

    def sent(self, now_s: float) -> Circuit:
        """Breaker after an order was sent: in the half-open state that order is the one that tries."""
        return replace(self, trying=self.state(now_s) is CircuitState.HALF_OPEN)

    def after(self, now_s: float, *, failed: bool) -> Circuit:
        """Breaker after an answer, or after none came. A refusal is no failure: the venue works."""
        if not failed:
            return replace(self, failures=0, opened_s=None, trying=False)
        failures = self.failures + 1
        # After a pause one failure opens it again: the order that tried has shown that nothing is mended.
        opens = failures >= self.failures_to_open or self.opened_s is not None
        return replace(self, failures=failures, opened_s=now_s if opens else None, trying=False)
