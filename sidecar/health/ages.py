"""How long ago something of a producer changed, by a clock that nobody sets."""

from __future__ import annotations

import time
from collections.abc import Callable


class Ages:
    """Notes when each producer's mark changed: a step of the wall clock makes nothing older, or younger.

    As exact as it is asked often. `monotonic` gives seconds.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._seen: dict[str, tuple[int, float]] = {}

    def age_s(self, producer_id: str, mark_ns: int) -> float | None:
        """Seconds since the mark, a wall time, was first seen; None where there is none (0)."""
        if not mark_ns:
            return None
        now = self._monotonic()
        known = self._seen.get(producer_id)
        if known is None or known[0] != mark_ns:
            self._seen[producer_id] = known = (mark_ns, now)
        return now - known[1]
