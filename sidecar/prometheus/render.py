"""Snapshots as the Prometheus text format 0.0.4 and as OpenMetrics 1.0, in slices.

https://prometheus.io/docs/instrumenting/exposition_formats/ and
https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import accumulate

from sidecar.prometheus.names import TYPES, Names, label_pairs
from sidecar.telemetry.model import Distribution, Exemplar, Family, Labels, Number, Snapshot
from telemetry_contract.v1 import telemetry_pb2 as pb

PRODUCER = "producer"
NUMBER = "otel_series"
"""Label that tells apart series which Prometheus could not."""
OURS = (PRODUCER, "le")
SLICE_LINES = 250
"""Lines of a slice: about a millisecond's work."""
_NS = 1_000_000_000


class Format(Enum):
    """A page's format; the value is its content type."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def negotiate(accept: str) -> Format:
    """The format that an Accept header (RFC 9110, 12.5.1) prefers; text where it names neither or is empty."""
    best, format_ = 0.0, Format.TEXT
    for entry in accept.split(","):
        media, *parameters = (part.strip().lower() for part in entry.split(";"))
        options = dict(part.partition("=")[::2] for part in parameters)
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
    return weight if 0 <= weight <= 1 else 0.0


@dataclass(slots=True)
class _Series:
    """What stands of a series: the point it was rendered from, its lines, and the text around its values."""

    point: Number | Distribution
    lines: str
    template: str


@dataclass(slots=True)
class _Shown:
    """A family as it stands on the page, from every producer that has it."""

    name: str
    unit: str
    parts: list[tuple[str, Family]] = field(default_factory=list)


class Exposition:
    """Renders pages of one format; what is constant for a series is kept from page to page.

    `chunks` of one page must be exhausted before the next page begins.
    """

    def __init__(self, format_: Format, names: Names) -> None:
        self._open = format_ is Format.OPENMETRICS
        self._names = names
        self._kept: dict[tuple[str, str], dict[Labels, _Series]] = {}
        self._said: dict[tuple[str, str], dict[frozenset[tuple[str, str]], list[Labels]]] = {}

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
        self._kept = kept

    def _forget(self) -> None:
        """Starts anew where most series that were ever shown are gone."""
        live = sum(map(len, self._kept.values()))
        if sum(map(len, self._said.values())) > 2 * live + SLICE_LINES:
            self._said.clear()
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
        name = shown.name if self._open or kind != "counter" else f"{shown.name}_total"
        help_ = _escape_help(family.description or family.name, quotes=self._open)
        unit = f"# UNIT {name} {shown.unit}\n" if self._open and shown.unit else ""
        return f"# HELP {name} {help_}\n# TYPE {name} {kind}\n{unit}"

    def _lines(self, name: str, producer: str, family: Family, kept: dict[Labels, _Series]) -> Iterator[str]:
        before = self._kept.get((name, producer), {})
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
        """The labels' text; numbered where another series of the family says the same (an empty label is none)."""
        said = self._said.setdefault((name, producer), {})
        same = said.setdefault(frozenset(pair for pair in label_pairs(labels, OURS) if pair[1]), [])
        if labels not in same:
            same.append(labels)
        number = same.index(labels)
        return label_text((*labels, (NUMBER, str(number + 1))) if number else labels, producer)

    def _template(self, name: str, family: Family, pairs: str) -> str:
        """The series' lines with `%s` for each value."""
        kind = TYPES[family.kind]
        quoted = pairs.replace("%", "%%")
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
        """A histogram with bounds below zero: OpenMetrics allows it no sum, so its series are families themselves."""
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
    """Labels as they stand between the braces, the producer last."""
    pairs = [*label_pairs(labels, OURS), (PRODUCER, producer)]
    return ",".join(f'{name}="{_escape_label(value)}"' for name, value in pairs)


def number_text(value: float) -> str:
    """A number as both formats write it (Go's ParseFloat reads it); infinities and NaN by their names."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    return repr(value)


def exemplar_text(exemplar: Exemplar) -> str:
    """The exemplar of a sample: trace and span, the value, and when it was measured."""
    ids = f'trace_id="{exemplar.trace_id.hex()}",span_id="{exemplar.span_id.hex()}"'
    return f" # {{{ids}}} {number_text(exemplar.value)} {_seconds(exemplar.time_ns)}"


def _seconds(time_ns: int) -> str:
    return f"{time_ns // _NS}.{time_ns % _NS:09d}"


def _escape_label(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _escape_help(text: str, *, quotes: bool) -> str:
    clean = text.replace("\\", "\\\\").replace("\n", "\\n")
    return clean.replace('"', '\\"') if quotes else clean
