"""Decides if a request is sent again, and after which pause.

the broker says that it did nothing (429, 503)      every request goes again
the result is open (no answer, 502, 504)            a read, or a write under an idempotency key, goes again: the
broker gives the first one's result
any other answer                                    it is the result
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pod_runtime.backoff import Backoff

NOTHING_DONE = frozenset({429, 503})
"""Statuses by which the broker says that it did nothing: every request may be sent again."""
RESULT_UNKNOWN = frozenset({0, 502, 504})
"""No answer (0), or one that leaves the result open: only what may be done twice is sent again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Bounds of the retries of one call."""

    attempts: int = 6
    pauses: Backoff = field(default_factory=lambda: Backoff(base_s=0.1, cap_s=5.0))

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"attempts is {self.attempts}; it must be 1 (no retries) or more")

    def pause_s(
        self,
        status: int,
        *,
        attempt: int,
        is_repeatable: bool,
        retry_after_s: float | None,
        remaining_s: float,
        chance: float,
    ) -> float | None:
        """Seconds until the request is sent again, or None if it is not.

        `attempt` is the number of the failed one, from 1; `status` 0 is no answer; a request is repeatable if a second
        one changes nothing, by its method or its idempotency key; `chance` is from 0 to 1.
        """
        may_repeat = status in NOTHING_DONE or (is_repeatable and status in RESULT_UNKNOWN)
        if not may_repeat or attempt >= self.attempts:
            return None
        # Behind what the broker asks for, not instead of it: clients that were refused together must not come back
        # together.
        pause_s = (retry_after_s or 0.0) + self.pauses.delay_s(attempt - 1, chance)
        return pause_s if pause_s < remaining_s else None
