"""A report of a month, as it is asked for: which server, which month, as text or JSON."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tools.monitoring.prometheus_api import Prometheus


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Wishes of the command line."""

    server: Prometheus
    month: str
    """As it was written, 2026-10."""
    start: datetime
    end: datetime
    as_json: bool


def asked(description: str, arguments: Sequence[str]) -> Report:
    """Reads the command line; one that cannot be read ends the process with 2."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--prometheus", required=True, help="URL of the server")
    parser.add_argument(
        "--month", default=last_month(datetime.now(UTC)), help="2026-10; the last whole one if not given"
    )
    parser.add_argument("--token-file", type=Path, help="file of a bearer token")
    parser.add_argument("--json", action="store_true", help="as JSON")
    found = parser.parse_args(arguments)
    try:
        start, end = month(found.month)
    except ValueError:
        parser.error(f"--month is {found.month!r}; write it as 2026-10")
    server = Prometheus(found.prometheus, found.token_file)
    return Report(server=server, month=found.month, start=start, end=end, as_json=found.json)


def month(text: str) -> tuple[datetime, datetime]:
    """Start and end of a month written 2026-10, in UTC.

    Raises:
        ValueError: it is written otherwise.
    """
    start = datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC)
    return start, start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)


def last_month(now: datetime) -> str:
    """The month before the one that `now` is in."""
    first = now.replace(day=1)
    return f"{first.year - (first.month == 1):04d}-{(first.month - 2) % 12 + 1:02d}"
