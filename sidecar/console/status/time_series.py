"""Time series of the console: samples of running totals, and the rates and quantiles made from them. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import accumulate, pairwise
from typing import Any

from sidecar.console.settings import PanelSettings
from sidecar.export.status import ExportStatus
from sidecar.health.conditions import HealthCondition
from sidecar.ingest.producers import ProducerStatus
from sidecar.journal.journal import JournalStatus
from sidecar.metrics.ledger import SidecarLedger
from sidecar.secrets.status import SecretsStatus
from sidecar.telemetry.model import Family, Number, Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelSample:
    """State of an instrument at one moment, over all producers: totals by label value, or buckets."""

    totals: Mapping[str, float] = field(default_factory=dict)
    bounds: tuple[float, ...] = ()
    buckets: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusSample:
    """State of the event path at one moment; `totals` are its running counts (`event_totals`)."""

    time_s: float
    totals: Mapping[str, float]
    panels: tuple[PanelSample, ...] = ()


class TimeSeries:
    """Latest samples, at most `points`; an older one makes room for a newer one."""

    def __init__(self, points: int) -> None:
        self._samples: deque[StatusSample] = deque(maxlen=points)

    def add(self, sample: StatusSample) -> None:
        """Add the sample of now."""
        self._samples.append(sample)

    @property
    def samples(self) -> Sequence[StatusSample]:
        """List all samples, the oldest first."""
        return tuple(self._samples)

    def rate(self, name: str, over_s: float) -> float:
        """Return the mean rate of a total, per second, over the last `over_s`; 0 before there are two samples."""
        if len(self._samples) < 2:  # noqa: PLR2004 - a rate needs two
            return 0.0
        *earlier, last = self._samples
        first = next((item for item in earlier if item.time_s >= last.time_s - over_s), earlier[-1])
        return _rate(first.time_s, first.totals.get(name, 0), last.time_s, last.totals.get(name, 0))


def rates(samples: Sequence[StatusSample], name: str) -> list[float]:
    """Return the rate of a total between each two samples, per second."""
    return [
        _rate(before.time_s, before.totals.get(name, 0), after.time_s, after.totals.get(name, 0))
        for before, after in pairwise(samples)
    ]


def panel_rates(samples: Sequence[StatusSample], place: int) -> list[float]:
    """Return the rate of a panel's counter, all labels together, between each two samples, per second."""
    sums = [(item.time_s, sum(item.panels[place].totals.values())) for item in samples]
    return [_rate(*before, *after) for before, after in pairwise(sums)]


def panel_quantiles(samples: Sequence[StatusSample], place: int, share: float, window: int) -> list[float | None]:
    """Return a quantile of a panel's histogram over the last `window` samples; None for a window without values."""
    states = [item.panels[place] for item in samples]
    found = []
    for position in range(1, len(states)):
        before, after = states[max(0, position - window)], states[position]
        values: Sequence[int] = after.buckets
        # Other bounds are another instrument: a producer of a new release has declared it anew.
        if before.bounds == after.bounds:
            values = [max(0, new - old) for old, new in zip(before.buckets, after.buckets, strict=True)]
        found.append(quantile(share, after.bounds, values))
    return found


def quantile(share: float, bounds: Sequence[float], buckets: Sequence[int]) -> float | None:
    """Return the value below which `share` of the measurements lie, linear within its bucket.

    It is the estimate of PromQL's `histogram_quantile`, so that the page and a dashboard agree.
    https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile
    """
    cumulated = list(accumulate(buckets))
    if not bounds or not cumulated or not cumulated[-1]:
        return None
    rank = share * cumulated[-1]
    place = bisect_left(cumulated, rank)
    # The last bucket is open above: all that is known is that the value lies beyond the highest bound.
    if place >= len(bounds):
        return bounds[-1]
    low = bounds[place - 1] if place else min(0.0, bounds[0])
    below = cumulated[place - 1] if place else 0
    inside = (rank - below) / buckets[place] if buckets[place] else 1.0
    return low + (bounds[place] - low) * inside


def _rate(time_before: float, before: float, time_after: float, after: float) -> float:
    # A total that fell began anew, with its producer: all that it has now came since then.
    seconds = time_after - time_before
    return 0.0 if seconds <= 0 else (after - before if after >= before else after) / seconds


def panel_samples(panels: Iterable[PanelSettings], snapshot: Snapshot) -> tuple[PanelSample, ...]:
    """Read the state of each panel's instrument from a snapshot."""
    families: dict[str, list[Family]] = {}
    for producer in snapshot.producers:
        for family in producer.families:
            families.setdefault(family.name, []).append(family)
    return tuple(_panel_sample(panel, families.get(panel.instrument, [])) for panel in panels)


def _panel_sample(panel: PanelSettings, families: Sequence[Family]) -> PanelSample:
    totals: Counter[str] = Counter()
    bounds = families[0].bounds if families else ()
    buckets = [0] * (len(bounds) + 1) if bounds else []
    for family in families:
        for point in family.points:
            if isinstance(point, Number):
                totals[dict(point.labels).get(panel.by, "")] += point.value  # type: ignore[assignment] # a Counter holds floats
            # Buckets add up only over producers with the same bounds; others are left out rather than guessed.
            elif family.bounds == bounds:
                buckets = [known + more for known, more in zip(buckets, point.buckets, strict=True)]
    return PanelSample(totals=dict(totals), bounds=bounds, buckets=tuple(buckets))


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessIdentity:
    """Version and start of the process that reports."""

    version: str
    pid: int
    started_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusInputs:
    """Reports of the parts at one moment."""

    now_ns: int
    identity: ProcessIdentity
    conditions: Sequence[HealthCondition]
    producers: Sequence[ProducerStatus]
    ledger: SidecarLedger
    export: ExportStatus
    secrets: SecretsStatus | None
    """None if no secret is configured."""
    actions: Sequence[dict[str, Any]]
    """Latest actions of the secrets agent (`AuditTimeline`)."""
    journal: JournalStatus | None
    """None before the journal is open."""
    series: TimeSeries
    panels: Sequence[PanelSettings]
    interval_s: float
    """Seconds between two samples of `series`."""


def event_totals(ledger: SidecarLedger) -> Mapping[str, float]:
    """Return the running counts from which the curves are made."""
    return {
        "received": ledger.events.received,
        "exported": ledger.logs.exported,
        "dropped": sum(ledger.logs.dropped.values()),
        "rejected": sum(ledger.events.rejected.values()) + sum(ledger.logs.rejected.values()),
    }


def moment_text(moment: datetime) -> str:
    """Write a moment in RFC 3339, to the millisecond."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
