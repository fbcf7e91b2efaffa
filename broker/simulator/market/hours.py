"""Trading days and weeks of the venue: both turn at 17:00 in New York, by its summer time too.

OANDA's week lasts from Sunday 17:00 to Friday 17:00 there (its hours of operation); it charges financing and ends GFD
orders at the turn of the day. In UTC that is 21:00 in summer and 22:00 in winter.
"""

from __future__ import annotations

import functools
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from broker.simulator.clock import NANOS

NEW_YORK = ZoneInfo("America/New_York")
DAY_ENDS = time(17)
"""GFD orders end and financing is charged then; a week lasts from Sunday to Friday."""
_HOUR_S = 3600
_DAYS_OPEN = 5


def trading_day(now_ns: int) -> int:
    """Number of the venue's day that a moment belongs to."""
    return _day_of(now_ns // NANOS // _HOUR_S)


@functools.lru_cache(maxsize=1024)
def _day_of(hour: int) -> int:
    # By the hour: 17:00 in New York is a whole hour of UTC, in summer and in winter.
    local = datetime.fromtimestamp(hour * _HOUR_S, NEW_YORK)
    return local.toordinal() + (local.time() >= DAY_ENDS)


def trading_week(second: int) -> tuple[int, int]:
    """Unix seconds at which the last week up to `second` opened, and closes."""
    return _week_of(second // _HOUR_S)


@functools.lru_cache(maxsize=4096)
def _week_of(hour: int) -> tuple[int, int]:
    local = datetime.fromtimestamp(hour * _HOUR_S, NEW_YORK)
    sunday = local.date() - timedelta(days=local.isoweekday() % 7)
    opens = at(sunday.toordinal(), DAY_ENDS, NEW_YORK)
    if opens > hour * _HOUR_S:
        opens = at(sunday.toordinal() - 7, DAY_ENDS, NEW_YORK)
        sunday -= timedelta(days=7)
    return opens, at(sunday.toordinal() + _DAYS_OPEN, DAY_ENDS, NEW_YORK)


def at(day: int, moment: time, zone: ZoneInfo) -> int:
    """Unix second of a time of day, on a day that is given by its ordinal, in a zone."""
    local = datetime.combine(datetime.fromordinal(day), moment, tzinfo=zone)
    return int(local.astimezone(UTC).timestamp())
