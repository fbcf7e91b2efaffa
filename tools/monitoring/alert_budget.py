"""Load of alerts on people: `python -m tools.monitoring.alert_budget --prometheus URL [--month 2026-10] [--json]`.

Each alert with how often it fired, how long, at which hours, from Prometheus's ALERTS series. Exit status 1 where a
team was paged more often than its budget (alert_budget in objectives.yaml), 69 where Prometheus does not answer.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from tools.monitoring.prometheus_api import Prometheus, PrometheusError, complain
from tools.monitoring.report import asked

MONITORING = Path(__file__).resolve().parents[2] / "k8s" / "monitoring"
STEP_S = 60
CHUNK = timedelta(days=7)
"""Prometheus answers at most 11,000 points a series; a week of minutes is 10,080."""
GROUPED = 'max by (alertname, severity, team, namespace) (ALERTS{alertstate="firing",severity=~"page|ticket"})'
"""By namespace, not by pod: Alertmanager makes one notification of it."""


@dataclass(frozen=True, slots=True)
class Episode:
    """An alert that fired once, from its first to its last sample."""

    alert: str
    severity: str
    team: str
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An alert in a month."""

    alert: str
    severity: str
    team: str
    fired: int
    median_minutes: float
    at_night: int
    """Began outside 08:00 to 18:00 UTC or at a weekend."""
    short: int
    """Over within five minutes: nobody could have done anything."""


def episodes(series: Sequence[dict[str, Any]], step_s: int = STEP_S) -> Iterator[Episode]:
    """Cuts samples where more than one step is missing."""
    for item in series:
        labels = item["metric"]
        runs: list[list[float]] = []
        for moment, _ in item["values"]:
            if runs and moment - runs[-1][1] <= step_s:
                runs[-1][1] = moment
            else:
                runs.append([moment, moment])
        for first, last in runs:
            span = (datetime.fromtimestamp(first, UTC), datetime.fromtimestamp(last, UTC))
            yield Episode(labels["alertname"], labels["severity"], labels["team"], *span)


def rows(found: Sequence[Episode]) -> list[Row]:
    """By alert, the most frequent first."""
    kinds = sorted({(item.alert, item.severity, item.team) for item in found})
    made = []
    for alert, severity, team in kinds:
        mine = [item for item in found if item.alert == alert and item.severity == severity and item.team == team]
        minutes = [(item.end - item.start).total_seconds() / 60 for item in mine]
        made.append(
            Row(
                alert=alert,
                severity=severity,
                team=team,
                fired=len(mine),
                median_minutes=statistics.median(minutes),
                at_night=sum(not _in_hours(item.start) for item in mine),
                short=sum(length < 5 for length in minutes),  # noqa: PLR2004 - see Row.short
            )
        )
    return sorted(made, key=lambda row: (-row.fired, row.alert))


def _in_hours(moment: datetime) -> bool:
    return moment.weekday() < 5 and 8 <= moment.hour < 18  # noqa: PLR2004 - see Row.at_night


def pages_a_week(made: Sequence[Row], days: float) -> dict[str, float]:
    """By team."""
    pages: Counter[str] = Counter()
    for row in made:
        if row.severity == "page":
            pages[row.team] += row.fired
    return {team: count / days * 7 for team, count in sorted(pages.items())}


def collect(server: Prometheus, start: datetime, end: datetime) -> list[Episode]:
    """Every episode of the span.

    Raises:
        PrometheusError: the server does not answer.
    """
    joined: dict[tuple[tuple[str, str], ...], dict[str, Any]] = {}
    while start < end:
        upto = min(start + CHUNK, end)
        for item in server.over(GROUPED, start, upto - timedelta(seconds=STEP_S), STEP_S):
            key = tuple(sorted(item["metric"].items()))
            joined.setdefault(key, {"metric": item["metric"], "values": []})["values"] += item["values"]
        start = upto
    return list(episodes(list(joined.values())))


def table(made: Sequence[Row], weekly: dict[str, float], budget: float, title: str) -> str:
    """The report as text."""
    lines = [title, f"{'alert':32} {'severity':8} {'team':9} {'fired':>5} {'night':>5} {'short':>5} {'median':>8}"]
    for row in made:
        figures = f"{row.fired:5} {row.at_night:5} {row.short:5} {row.median_minutes:5.0f} min"
        lines.append(f"{row.alert:32} {row.severity:8} {row.team:9} {figures}")
    for team, count in weekly.items():
        verdict = "within" if count <= budget else "OVER"
        lines.append(f"{team}: {count:.1f} pages a week, {verdict} its budget of {budget:g}")
    return "\n".join(lines if made else [*lines, "nothing fired"])


def main(arguments: Sequence[str]) -> int:
    """Prints the report."""
    report = asked("Alerts of a month", arguments)
    budget = float(yaml.safe_load((MONITORING / "objectives.yaml").read_text())["alert_budget"]["pages_per_week"])
    try:
        made = rows(collect(report.server, report.start, report.end))
    except PrometheusError as error:
        return complain(error)
    weekly = pages_a_week(made, (report.end - report.start).days)
    shown = {"month": report.month, "alerts": [asdict(row) for row in made], "pages_a_week": weekly, "budget": budget}
    text = table(made, weekly, budget, f"Alerts of {report.month}")
    sys.stdout.write((json.dumps(shown, indent=1) if report.as_json else text) + "\n")
    return int(any(count > budget for count in weekly.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
