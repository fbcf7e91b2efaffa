"""Renderer of snapshots as the Prometheus text format 0.0.4 and as OpenMetrics 1.0.

https://prometheus.io/docs/instrumenting/exposition_formats/ and
https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md

A page may have ten thousand lines, and the event loop that makes it also takes events. prometheus_client makes a page
in one call, from an object for each series that would first be built: until it returns no batch is acknowledged.
`python -m bench.scrape` measures both writers. Here pages are made in slices, and from lines that are kept.

Slices
    `chunks` yields the page in pieces of about SLICE_LINES lines, a millisecond's work, and the handler gives the
    loop a turn after each. The snapshot is immutable: a page shows one moment although it is made in many turns.

Cached lines
    Between two scrapes most series do not change. A snapshot gives a series that did not change the same point object
    as before, so identity (`is`) tells it: its lines are taken over as they stand. Of a series that changed, only the
    numbers are written: its names, labels and bounds, escaped, are a template with a `%s` for each number. What is
    kept belongs to one page and is replaced by the next; series that are gone are forgotten with it.

Series that Prometheus cannot tell apart
    Two label sets of OpenTelemetry may be one for Prometheus: `a.b` and `a_b` are one name, and an empty value is no
    label. A page must not have a series twice; Prometheus would drop one. The second such series therefore gets the
    label `otel_series`, numbered in the order of appearance, which `_seen` remembers beyond the series' life so that
    its number stays. It is cleared when it is more than twice as large as the page.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import accumulate

from sidecar.prometheus.names import TYPES, MetricNames, label_pairs
from sidecar.telemetry.model import Distribution, Exemplar, Family, Labels, Number, Snapshot
from telemetry_contract.v1 import telemetry_pb2 as pb

PRODUCER = "producer"
NUMBER = "otel_series"
"""Label of series that Prometheus could not tell apart from an earlier one."""
OURS = (PRODUCER, "le")
SLICE_LINES = 250
"""Lines of a slice, rendered in about a millisecond."""
_NS = 1_000_000_000


class Format(Enum):
    """Format of a page; the value is its content type."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def negotiate(accept: str) -> Format:
    """Format that an Accept header (RFC 9110, 12.5.1) prefers; text where it names neither."""
    best, format_ = 0.0, Format.TEXT
    for entry in accept.split(","):
        media, *parameters = (part.strip().lower() for part in entry.split(";"))
        options = dict(part.partition("=")[::2] for part in parameters)
        # Prometheus asks for 0.0.1, too: the number of the format's draft.
        if media == "application/openmetrics-text" and options.get("version", "1.0.0") in {"1.0.0", "0.0.1"}:
            offered = Format.OPENMETRICS
        elif media in {"text/plain", "text/*", "*/*"}:
            offered = Format.TEXT
        else:
            continue
        weight = _weight(options.get("q", "1"))
        if weight > best:
            best, format_ = weight, offered
    return format_


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        return 0.0
    return weight if 0 <= weight <= 1 else 0.0  # NaN, too, is no weight


@dataclass(slots=True)
class _Series:
    """Rendered series: the point, its lines, and the template of the lines."""

    point: Number | Distribution
    lines: str
    template: str


@dataclass(slots=True)
class _Shown:
    """A family on the page, from every producer that has it."""

    name: str
    unit: str
    parts: list[tuple[str, Family]] = field(default_factory=list)


class Exposition:
    """Renders pages of one format. `chunks` of one page must be exhausted before the next page begins."""

    def __init__(self, format_: Format, names: MetricNames) -> None:
        self._open = format_ is Format.OPENMETRICS
        self._names = names
        self._kept: dict[tuple[str, str], dict[Labels, _Series]] = {}
        self._seen: dict[tuple[str, str], dict[frozenset[tuple[str, str]], list[Labels]]] = {}

    def chunks(self, snapshot: Snapshot) -> Iterator[str]:
        """The page in slices of about SLICE_LINES lines, without OpenMetrics' closing `# EOF`."""
        kept: dict[tuple[str, str], dict[Labels, _Series]] = {}
        self._forget()
        for shown in self._shown(snapshot):
            yield self._header(shown)
            if self._open and any(bound < 0 for _, family in shown.parts for bound in family.bounds):
                yield self._below_zero(shown)
                continue
            for producer, family in shown.parts:
                place = shown.name, producer
                kept[place] = {}
                yield from self._lines(shown.name, producer, family, kept[place])
        # As a whole: with it, series that are gone are forgotten.
        self._kept = kept

    def _forget(self) -> None:
        """Start anew where most series that were ever shown are gone."""
        live = sum(map(len, self._kept.values()))
        if sum(map(len, self._seen.values())) > 2 * live + SLICE_LINES:
            self._seen.clear()
            self._kept = {}

    def _shown(self, snapshot: Snapshot) -> list[_Shown]:
        shown: dict[str, _Shown] = {}
        for producer in snapshot.producers:
            for family in producer.families:
                if family.points:
                    name, unit = self._names.name(family.name, family.kind, family.unit)
                    shown.setdefault(name, _Shown(name, unit)).parts.append((producer.producer_id, family))
        return list(shown.values())

    def _header(self, shown: _Shown) -> str:
        family = shown.parts[0][1]
        kind = TYPES[family.kind]
        if self._open and any(bound < 0 for _, part in shown.parts for bound in part.bounds):
            return ""
        # 0.0.4 knows a counter by the name of its samples, OpenMetrics by that without `_total`.
        name = shown.name if self._open or kind != "counter" else f"{shown.name}_total"
        help_ = _escape_help(family.description or family.name, quotes=self._open)
        unit = f"# UNIT {name} {shown.unit}\n" if self._open and shown.unit else ""
        return f"# HELP {name} {help_}\n# TYPE {name} {kind}\n{unit}"

    def _lines(self, name: str, producer: str, family: Family, kept: dict[Labels, _Series]) -> Iterator[str]:
        before = self._kept.get((name, producer), {})
        # A histogram's series has a line for each bound, `+Inf`, sum and count.
        step = max(SLICE_LINES // (len(family.bounds) + 3 if family.bounds else 1), 1)
        for start in range(0, len(family.points), step):
            slice_ = []
            for point in family.points[start : start + step]:
                series = before.get(point.labels)
                if series is None:
                    template = self._template(name, family, self._pairs(name, producer, point.labels))
                    series = _Series(point, self._fill(template, point, family.kind), template)
                elif series.point is not point:
                    series.point, series.lines = point, self._fill(series.template, point, family.kind)
                kept[point.labels] = series
                slice_.append(series.lines)
            yield "".join(slice_)

    def _pairs(self, name: str, producer: str, labels: Labels) -> str:
        """Text of the labels, numbered where Prometheus would take an earlier series of the family for the same."""
        seen = self._seen.setdefault((name, producer), {})
        same = seen.setdefault(frozenset(pair for pair in label_pairs(labels, OURS) if pair[1]), [])
        if labels not in same:
            same.append(labels)
        number = same.index(labels)
        return label_text((*labels, (NUMBER, str(number + 1))) if number else labels, producer)

    def _template(self, name: str, family: Family, pairs: str) -> str:
        """Lines of a series with `%s` for each number."""
        kind = TYPES[family.kind]
        quoted = pairs.replace("%", "%%")  # a label's value may have one
        if kind == "gauge":
            return f"{name}{{{quoted}}} %s\n"
        created = f"{name}_created{{{quoted}}} %s\n" if self._open else ""
        if kind == "counter":
            return f"{name}_total{{{quoted}}} %s\n{created}"
        exemplar = "%s" if self._open else ""
        bounds = [*map(number_text, family.bounds), "+Inf"]
        lines = [f'{name}_bucket{{{quoted},le="{bound}"}} %s{exemplar}\n' for bound in bounds]
        lines += [f"{name}_sum{{{quoted}}} %s\n", f"{name}_count{{{quoted}}} %s\n", created]
        return "".join(lines)

    def _fill(self, template: str, point: Number | Distribution, kind: int) -> str:
        if isinstance(point, Distribution):
            return self._fill_distribution(template, point)
        value = number_text(point.value)
        if not self._open or kind != pb.INSTRUMENT_KIND_COUNTER:
            return template % value
        exemplar = exemplar_text(point.exemplar) if point.exemplar is not None else ""
        return template % (value + exemplar, _seconds(point.start_ns))

    def _fill_distribution(self, template: str, point: Distribution) -> str:
        totals: Sequence[object] = list(accumulate(point.buckets))
        tail = (number_text(point.sum), point.count)
        if not self._open:
            return template % (*totals, *tail)
        exemplars = point.exemplars or (None,) * len(point.buckets)
        texts = ["" if each is None else exemplar_text(each) for each in exemplars]
        mixed = [item for pair in zip(totals, texts, strict=True) for item in pair]
        return template % (*mixed, *tail, _seconds(point.start_ns))

    def _below_zero(self, shown: _Shown) -> str:
        """A histogram with bounds below zero, as three families: OpenMetrics allows it no sum."""
        name, family = shown.name, shown.parts[0][1]
        buckets, sums, counts = [], [], []
        for producer, part in shown.parts:
            bounds = [*map(number_text, part.bounds), "+Inf"]
            for point in part.points:
                if not isinstance(point, Distribution):
                    continue
                pairs = self._pairs(name, producer, point.labels)
                totals = zip(bounds, accumulate(point.buckets), strict=True)
                buckets += [f'{name}_bucket{{{pairs},le="{bound}"}} {total}\n' for bound, total in totals]
                sums.append(f"{name}_sum{{{pairs}}} {number_text(point.sum)}\n")
                counts.append(f"{name}_count{{{pairs}}} {point.count}\n")
        help_ = _escape_help(family.description or family.name, quotes=True)
        families = (("bucket", "unknown", buckets), ("sum", "gauge", sums), ("count", "unknown", counts))
        return "".join(
            f"# HELP {name}_{suffix} {help_}\n# TYPE {name}_{suffix} {kind}\n{''.join(lines)}"
            for suffix, kind, lines in families
        )


def label_text(labels: Labels, producer: str) -> str:
    """Text of the labels between the braces, the producer last."""
    pairs = [*label_pairs(labels, OURS), (PRODUCER, producer)]
    return ",".join(f'{name}="{_escape_label(value)}"' for name, value in pairs)


def number_text(value: float) -> str:
    """A number in both formats, as Go's ParseFloat reads it; infinities and NaN by their names."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    return repr(value)  # the shortest text that is read as the same number


def exemplar_text(exemplar: Exemplar) -> str:
    """Exemplar of a sample: trace and span, the value, and the time of the measurement."""
    ids = f'trace_id="{exemplar.trace_id.hex()}",span_id="{exemplar.span_id.hex()}"'
    return f" # {{{ids}}} {number_text(exemplar.value)} {_seconds(exemplar.time_ns)}"


def _seconds(time_ns: int) -> str:
    # By integers: a double has 16 digits, and a time in nanoseconds 19.
    return f"{time_ns // _NS}.{time_ns % _NS:09d}"


def _escape_label(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _escape_help(text: str, *, quotes: bool) -> str:
    clean = text.replace("\\", "\\\\").replace("\n", "\\n")
    return clean.replace('"', '\\"') if quotes else clean
