"""Exponential backoff with jitter: delays before an attempt is repeated.

Jitter matters more than the exponent where many clients lose one server at once, as every broker does when the venue
restarts: equal delays bring them back in one moment, again and again.
https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/ compares the kinds; this is its "equal
jitter". Its "full jitter" may draw a delay of almost nothing, which wastes an attempt on a server that is still away.

Pure: the caller draws the random number, so that a test knows each delay, and sleeps by its own clock.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Delays that grow from `base_s` by `factor` up to `cap_s`.

    The delay before repeat *n*, counted from 0, is uniform in [½·d, d] with d = min(cap, base·factorⁿ).
    """

    base_s: float = 0.25
    cap_s: float = 30.0
    factor: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.base_s <= self.cap_s or self.factor < 1:
            raise ValueError(f"backoff needs 0 < base <= cap and factor >= 1: {self}")

    def delay_s(self, attempt: int, chance: float) -> float:
        """Return the seconds to wait before repeat `attempt`, for a random number `chance` in [0, 1)."""
        # 2.0 to the power of 1024 overflows, and an outage may well last that many attempts.
        exponent = min(attempt, 64)
        ceiling = min(self.cap_s, self.base_s * self.factor**exponent)
        return ceiling * (0.5 + 0.5 * chance)
