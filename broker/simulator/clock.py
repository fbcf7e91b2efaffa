"""Time at the simulated venue: Unix nanoseconds, in the two forms that v20 writes."""

from __future__ import annotations

from datetime import UTC, datetime

NANOS = 1_000_000_000


def rfc3339(now_ns: int) -> str:
    """`2026-11-24T10:00:00.000000000Z`, nine digits of fraction as the venue sends them."""
    seconds, nanos = divmod(now_ns, NANOS)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{nanos:09d}Z"


def unix(time: str) -> str:
    """An RFC 3339 time of this module as `1700000000.000000000`."""
    moment = datetime.strptime(time[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    return f"{int(moment.timestamp())}.{time[20:29]}"


def parse_ns(text: str) -> int:
    """A time of a request, in either form, as Unix nanoseconds.

    Raises:
        ValueError: it is neither.
    """
    if "T" not in text:
        seconds, _, fraction = text.partition(".")
        return int(seconds) * NANOS + int((fraction + "0" * 9)[:9])
    head, _, tail = text.rstrip("Z").partition(".")
    moment = datetime.fromisoformat(head).replace(tzinfo=UTC)
    return int(moment.timestamp()) * NANOS + int((tail + "0" * 9)[:9] or 0)
