"""Beginnings of candles: aligned to the minute, hour, day, week or month (v20, `CandlestickGranularity`)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from broker.simulator.market.hours import NEW_YORK, at, trading_week
from broker.simulator.v20.answers import invalid, whole

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_UNITS = {"S": 1, "M": 60, "H": 3600}
_SIZES = {"S": (5, 10, 15, 30), "M": (1, 2, 4, 5, 10, 15, 30), "H": (1, 2, 3, 4, 6, 8, 12)}
_WEEK_S = 7 * 86_400
_NOON = 12
_LATEST_HOUR = 23


class Alignment:
    """Candles of one granularity in a row; a moment is a Unix second.

    Days turn at an hour of a zone, weeks on a weekday, months with the day that has the first's date: a day that turns
    in the afternoon has the date of the next day, as the venue's own does.
    """

    def __init__(self, granularity: str, *, hour: int = 17, zone: ZoneInfo = NEW_YORK, weekday: str = "Friday") -> None:
        self._turn, self._zone = time(hour), zone
        self._weekday = WEEKDAYS.index(weekday)
        self._shift = 1 if hour >= _NOON else 0
        """Days from the date on which a day begins to its own date."""
        self.width_s = 0
        """Of granularities that have one."""
        by_name: dict[str, Callable[[int], int]] = {"D": self._day, "W": self._week, "M": self._month}
        if granularity in by_name:
            self.start = by_name[granularity]
            return
        unit, number = granularity[:1], granularity[1:]
        if unit not in _SIZES or number not in map(str, _SIZES[unit]):
            raise invalid("granularity")
        self.width_s = int(number) * _UNITS[unit]
        self.start = self._hours if unit == "H" and number != "1" else self._fixed

    @classmethod
    def of(cls, query: Mapping[str, str], granularity: str) -> Alignment:
        """Read the alignment of a query. Raises RefusalError: 400, a value that cannot be read."""
        hour = whole(query.get("dailyAlignment", "17"), "dailyAlignment")
        if hour > _LATEST_HOUR:
            raise invalid("dailyAlignment")
        weekday = query.get("weeklyAlignment", "Friday")
        if weekday not in WEEKDAYS:
            raise invalid("weeklyAlignment")
        try:
            zone = ZoneInfo(query.get("alignmentTimezone", NEW_YORK.key))
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise invalid("alignmentTimezone") from None
        return cls(granularity, hour=hour, zone=zone, weekday=weekday)

    def end(self, start: int) -> int:
        """End of the candle that begins at `start`: the beginning of the next one."""
        if self.start == self._fixed:
            return start + self.width_s
        if self.start == self._hours:
            # The last of a day ends with it, an hour early or late where the clocks change.
            return min(start + self.width_s, self._day_after(start))
        if self.start == self._day:
            return self._day_after(start)
        # Long enough to be in the next one, and too short for the one behind it.
        return self.start(start + (8 * 86_400 if self.start == self._week else 33 * 86_400))

    def forward(self, moment: int) -> Iterator[tuple[int, int]]:
        """Candles from the one that covers `moment` on, without end; a closed market has none."""
        start = self.start(moment)
        while True:
            end = self.end(start)
            if _is_open(start, end):
                yield start, end
                start = end
            else:
                start = max(self.start(trading_week(trading_week(start)[1] + 3 * 86_400)[0]), end)

    def backward(self, moment: int) -> Iterator[tuple[int, int]]:
        """Candles from the one that covers `moment` back, without end."""
        start = self.start(moment)
        while True:
            end = self.end(start)
            if _is_open(start, end):
                yield start, end
                start = self.start(start - 1)
            else:
                start = self.start(min(trading_week(start)[1], start) - 1)

    def _fixed(self, moment: int) -> int:
        return moment - moment % self.width_s

    def _hours(self, moment: int) -> int:
        day = self._day(moment)
        return moment - (moment - day) % self.width_s

    def _day(self, moment: int) -> int:
        return _turned(moment, self._turn, self._zone)[0]

    def _day_after(self, start: int) -> int:
        return at(_turned(start, self._turn, self._zone)[1] + 1, self._turn, self._zone)

    def _week(self, moment: int) -> int:
        day = _turned(moment, self._turn, self._zone)[1]
        return at(day - (date.fromordinal(day).weekday() - self._weekday) % 7, self._turn, self._zone)

    def _month(self, moment: int) -> int:
        own = date.fromordinal(_turned(moment, self._turn, self._zone)[1] + self._shift)
        return at(own.replace(day=1).toordinal() - self._shift, self._turn, self._zone)


@functools.lru_cache(maxsize=4096)
def _turned(moment: int, turn: time, zone: ZoneInfo) -> tuple[int, int]:
    """Moment and ordinal of the day that began last."""
    day = datetime.fromtimestamp(moment, zone).toordinal()
    began = at(day, turn, zone)
    return (began, day) if began <= moment else (at(day - 1, turn, zone), day - 1)


def _is_open(start: int, end: int) -> bool:
    """True if the market is open at some moment from `start` until `end`."""
    return start < trading_week(start)[1] or trading_week(end - 1)[0] > start
