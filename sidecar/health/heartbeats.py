"""How long ago a producer was heard, by a clock that nobody sets."""

from __future__ import annotations

import time
from collections.abc import Callable


class Heartbeats:
    """Notes when each producer's last heartbeat changed: a step of the wall clock makes nobody silent, or alive.

    As exact as it is asked often. `monotonic` gives seconds.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._seen: dict[str, tuple[int, float]] = {}

    def age_s(self, producer_id: str, last_ns: int) -> float | None:
        """Seconds since the heartbeat of wall time `last_ns` was first seen; None where there is none (0)."""
        if not last_ns:
            return None
        now = self._monotonic()
        known = self._seen.get(producer_id)
        if known is None or known[0] != last_ns:
            self._seen[producer_id] = known = (last_ns, now)
        return now - known[1]
