"""How long to wait before trying again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Exponential delays with full jitter in their upper half, capped.

    The delay before attempt *n* (0 is the first repeat) is uniform in [½·d, d] with
    d = min(cap, base·factorⁿ): half is kept so that a crowd spreads and nobody retries at once.
    """

    base_s: float = 0.25
    cap_s: float = 30.0
    factor: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.base_s <= self.cap_s or self.factor < 1:
            raise ValueError(f"backoff needs 0 < base <= cap and factor >= 1: {self}")

    def delay_s(self, attempt: int, chance: float) -> float:
        """Seconds to wait before repeat `attempt`, given `chance` in [0, 1)."""
        exponent = min(attempt, 64)
        ceiling = min(self.cap_s, self.base_s * self.factor**exponent)
        return ceiling * (0.5 + 0.5 * chance)
