"""A month of minutes with known incidents, and what it must come to, without Prometheus.

The month begins on Thursday, 1 January 1970, at midnight UTC, where promtool's clock begins.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import Any

DAYS = 30
MINUTES = DAYS * 24 * 60
DAY = 24 * 60
WINDOW = {"5m": 5, "30m": 30, "1h": 60, "2h": 120, "6h": 360, "1d": 1440, "3d": 4320}
HOLD = {"2m": 2, "5m": 5, "15m": 15, "1h": 60}
KEEP = 5
FRESH_S = 10
STEP = int(os.environ.get("MONTH_STEP_MIN", "5"))
"""Minutes between samples and between evaluations: 1 at full size, which takes minutes."""
ORDERS = 100
"""A minute, while the market is open; ten while it is not."""


@dataclass(frozen=True, slots=True)
class Incident:
    """From a minute on, for a while, so many orders of a minute are lost; `stale`: no prices come, too."""

    what: str
    day: int
    minute: int
    length: int
    lost: int
    stale: bool = False

    def covers(self, minute: int) -> bool:
        return 0 <= minute - (self.day * DAY + self.minute) < self.length


INCIDENTS = (
    Incident("a blip of two minutes: too little to page", 0, 600, 2, 25),
    Incident("half of all orders for ten minutes", 1, 780, 10, 50, stale=True),
    Incident("all weekend, with the market closed", 2, 60, 1500, 10, stale=True),
    Incident("one in a hundred for half a day", 5, 480, 720, 1),
    Incident("it goes down ten minutes before the week ends and stays", 8, 22 * 60 - 10, 400, 60, stale=True),
    Incident("no prices for two hours, no order lost", 12, 540, 120, 0, stale=True),
    Incident("flaps: five minutes of each half hour", 14, 600, 5, 20),
    Incident("flaps again", 14, 630, 5, 20),
    Incident("and again", 14, 660, 5, 20),
    Incident("one in a hundred for two and a half days", 18, 0, 3600, 1),
)


@cache
def is_open(minute: int) -> bool:
    """True if the market is open: it is closed from Friday 22:00 to Sunday 22:00 UTC, in winter."""
    weekday, hour = (minute // DAY + 4) % 7, minute % DAY // 60
    return not (weekday == 6 or (weekday == 0 and hour < 22) or (weekday == 5 and hour >= 22))


@dataclass(frozen=True, slots=True)
class Month:
    """At each minute: orders until then, lost ones of them, and how old the last price is, in seconds.

    Before each step: its samples of an open market, and those of them without prices.
    """

    received: Sequence[int]
    lost: Sequence[int]
    price_age: Sequence[int]
    seen: Sequence[int]
    stale: Sequence[int]


def month(incidents: Sequence[Incident] = INCIDENTS) -> Month:
    """Counters begin at zero; a minute's events are in the sample at its end."""
    found = [[item for item in incidents if item.covers(minute)] for minute in range(MINUTES + 1)]
    per_minute = [ORDERS if is_open(minute) else 10 for minute in range(MINUTES)]
    lost = [min(sum(item.lost for item in found[minute]), per_minute[minute]) for minute in range(MINUTES)]
    age = [60 if any(item.stale for item in found[minute]) else 2 for minute in range(MINUTES + 1)]
    steps = range(0, MINUTES + 1, STEP)
    return Month(
        received=list(accumulate(per_minute, initial=0)),
        lost=list(accumulate(lost, initial=0)),
        price_age=age,
        seen=list(accumulate((is_open(minute) for minute in steps), initial=0)),
        stale=list(accumulate((is_open(minute) and age[minute] > FRESH_S for minute in steps), initial=0)),
    )


def ratio(bad: Sequence[int], total: Sequence[int], at: int, window: int) -> float | None:
    """The share of the last `window` minutes' events that is bad; None where there are none.

    Both ends of a window are samples, as in Prometheus 2: a counter grew by their difference.
    """
    first = max(at - window, 0)
    count = total[at] - total[first]
    return (bad[at] - bad[first]) / count if count > 0 else None


def mean(year: Month, at: int, window: int) -> float | None:
    """The share of a window's samples of an open market, its ends among them, in which prices are stale."""
    first, last = max(at - window, 0) // STEP, at // STEP + 1
    seen = year.seen[last] - year.seen[first]
    return (year.stale[last] - year.stale[first]) / seen if seen else None


def share(item: dict[str, Any], year: Month, at: int, window: str) -> float | None:
    """Value of `slo:error:ratio_<window>`."""
    if "bad_time" in item:
        return mean(year, at, WINDOW[window])
    return ratio(year.lost, year.received, at, WINDOW[window])


def volume(item: dict[str, Any], year: Month, at: int) -> int:
    """Value of `slo:events:increase_1h`."""
    if "bad_time" in item:
        return year.seen[at // STEP + 1] - year.seen[max(at - WINDOW["1h"], 0) // STEP]
    return year.received[at] - year.received[max(at - WINDOW["1h"], 0)]


def firing(burn: dict[str, Any], item: dict[str, Any], year: Month, factor: float) -> Iterator[int]:
    """The minutes at which a burn alert fires: its two shares, its guards, `for` and then `keep_firing_for`."""
    limit = factor * round(1 - item["objective"], 6)
    since = kept = None
    fires = False
    for at in range(0, MINUTES + 1, STEP):
        shares = [share(item, year, at, burn[key]) for key in ("short", "long")] if is_open(at) else [None]
        true = all(found is not None and found > limit for found in shares)
        if true and volume(item, year, at) >= item["minimum_events"]:
            since, kept = at if since is None else since, None
            fires = fires or at - since >= HOLD[burn["for"]]
        else:
            kept = at if fires and kept is None else kept
            since = since if fires else None
            if kept is not None and at - kept >= KEEP:
                since, kept, fires = None, None, False
        if fires:
            yield at
