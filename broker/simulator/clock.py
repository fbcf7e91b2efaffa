"""Time at the simulated venue: Unix nanoseconds, in the two forms that v20 writes, and a clock that can be moved."""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime

NANOS = 1_000_000_000
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)?", re.ASCII)


@functools.lru_cache(maxsize=256)
def rfc3339(now_ns: int) -> str:
    """Write `2026-11-24T10:00:00.000000000Z`, nine digits of fraction as the venue sends them."""
    # Kept, for all transactions of a request have one time. A datetime ends at microseconds: the nine digits are
    # written apart from it.
    seconds, nanos = divmod(now_ns, NANOS)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{nanos:09d}Z"


def unix(moment: str) -> str:
    """Turn an RFC 3339 time of this module into `1700000000.000000000`."""
    whole = datetime.strptime(moment[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    return f"{int(whole.timestamp())}.{moment[20:29]}"


def parse_ns(text: str) -> int:
    """Parse a time of a request, in either form, as Unix nanoseconds. Raises ValueError: it is neither."""
    found = _RFC3339.fullmatch(text)
    if found is None:
        seconds, _, fraction = text.partition(".")
        return int(seconds) * NANOS + int((fraction + "0" * 9)[:9])
    whole, fraction, offset = found[1], found[2] or "", (found[3] or "Z").upper()
    # UTC where the text names no offset, as the venue takes it. Whole numbers throughout: a float of today's seconds
    # is exact to a quarter of a microsecond only.
    moment = datetime.fromisoformat(whole + offset.replace("Z", "+00:00"))
    return int(moment.timestamp()) * NANOS + int(fraction.ljust(9, "0"))


class SimulatedClock:
    """Unix nanoseconds that can run faster than the machine's and be moved."""

    def __init__(self, speed: float = 1.0, source: Callable[[], int] = time.time_ns) -> None:
        self._source = source
        self._anchor = self._shown = source()
        self.speed = speed

    def now_ns(self) -> int:
        """Time at the venue."""
        return self._shown + int((self._source() - self._anchor) * self.speed)

    def move(self, seconds: float = 0.0, speed: float | None = None) -> None:
        """Jump, and run at `speed` from here on."""
        # Anchored anew at each change: the new speed counts from here on, and times already shown stay true.
        self._shown = self.now_ns() + int(seconds * NANOS)
        self._anchor = self._source()
        self.speed = self.speed if speed is None else speed
