"""Prometheus names of OpenTelemetry instruments and labels, and their owners.

The rules are those of https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/ .
They are not one to one: `a.b` and `a_b` are one name. So names have owners, and keep them over restarts, as the
counters behind them keep their values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

from sidecar.telemetry.model import Labels
from telemetry_contract.v1 import telemetry_pb2 as pb

_UNITS = {
    "d": "days", "h": "hours", "min": "minutes", "s": "seconds", "ms": "milliseconds", "us": "microseconds",
    "ns": "nanoseconds", "By": "bytes", "KiBy": "kibibytes", "MiBy": "mebibytes", "GiBy": "gibibytes",
    "TiBy": "tebibytes", "KBy": "kilobytes", "MBy": "megabytes", "GBy": "gigabytes", "TBy": "terabytes",
    "m": "meters", "V": "volts", "A": "amperes", "J": "joules", "W": "watts", "g": "grams", "Cel": "celsius",
    "Hz": "hertz", "%": "percent",
}  # fmt: skip
_PER = {
    "s": "second", "m": "minute", "min": "minute", "h": "hour", "d": "day", "w": "week", "mo": "month", "y": "year",
}  # fmt: skip
_SUFFIXES = {
    "counter": ("", "_total", "_created"),
    "histogram": ("", "_bucket", "_count", "_sum", "_created"),
    "gauge": ("",),
}
TYPES = {
    pb.INSTRUMENT_KIND_COUNTER: "counter",
    pb.INSTRUMENT_KIND_UP_DOWN_COUNTER: "gauge",
    pb.INSTRUMENT_KIND_GAUGE: "gauge",
    pb.INSTRUMENT_KIND_HISTOGRAM: "histogram",
}


def sanitised(name: str) -> str:
    """`name` in letters, digits and single underscores; a leading digit gets an underscore before it."""
    clean = re.sub(r"_+", "_", re.sub(r"[^a-zA-Z0-9_]", "_", name))
    return f"_{clean}" if clean[:1].isdigit() else clean or "_"


def unit_word(unit: str) -> str:
    """Prometheus' word for a UCUM unit: annotations in braces are removed, `By/s` is bytes_per_second."""
    bare = re.sub(r"\{[^}]*\}", "", unit).strip()
    over, slash, under = bare.partition("/")
    if slash and under:
        return "_".join(filter(None, (_UNITS.get(over, over), "per", _PER.get(under, under))))
    return "" if over in {"", "1"} else _UNITS.get(over, over)


def family_name(name: str, kind: pb.InstrumentKind.ValueType, unit: str) -> tuple[str, str]:
    """Name of the family, without `_total`, and its unit where the name ends with it."""
    clean = sanitised(name)
    if TYPES[kind] == "counter":
        clean = clean.removesuffix("_total") or clean  # the text of samples appends it
    is_ratio = unit == "1" and kind == pb.INSTRUMENT_KIND_GAUGE
    word = "ratio" if is_ratio else unit_word(unit) and sanitised(unit_word(unit))
    if word and not clean.endswith(f"_{word}"):
        clean = f"{clean}_{word}"
    return clean, word


def label_pairs(labels: Labels, reserved: Iterable[str]) -> list[tuple[str, str]]:
    """Labels with their Prometheus names; where two names become one, their values are joined by `;`, sorted.

    A label that has a name of ours (`producer`, `le`) becomes `exported_…`, as Prometheus renames its own.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    for name, value in labels:
        clean = sanitised(name)
        # Prometheus keeps names that begin with two underscores to itself; `sanitised` leaves only one.
        clean = f"exported_{clean}" if clean in reserved else clean
        found.setdefault(clean, []).append((name, value))
    return [(name, _joined(pairs)) for name, pairs in found.items()]


def _joined(pairs: list[tuple[str, str]]) -> str:
    if len(pairs) == 1:
        return pairs[0][1]
    return ";".join(value.replace("\\", "\\\\").replace(";", "\\;") for _, value in sorted(pairs))


@dataclass(slots=True)
class MetricNames:
    """Owners of Prometheus names.

    The first instrument to ask owns a name. Another one with the same name gets a number appended: both stay
    readable, and no scrape fails or mixes them. Units that are alike to Prometheus, such as none and `1`, make one
    instrument. `capture` gives the owners to `restored`, for a later process.
    """

    taken: set[str] = field(default_factory=set)
    reserved: set[str] = field(default_factory=set)
    held: dict[tuple[str, int, str], tuple[str, str]] = field(default_factory=dict)

    def name(self, name: str, kind: pb.InstrumentKind.ValueType, unit: str) -> tuple[str, str]:
        """Family name and unit of an instrument; the unit is empty where the name does not end with it."""
        wanted, word = family_name(name, kind, unit)
        key = (name, int(kind), word)
        if (found := self.held.get(key)) is None:
            chosen = self._claim(wanted, TYPES[kind])
            found = self.held[key] = (chosen, word if chosen.endswith(f"_{word}") else "")
        return found

    def capture(self) -> bytes:
        """Names of the instruments and their owners, as JSON."""
        return json.dumps([[*key, *found] for key, found in self.held.items()]).encode()

    @classmethod
    def restored(cls, captured: bytes) -> Self:
        """Take over the owners of a former process; of what cannot be read, none."""
        names = cls()
        with suppress(ValueError, TypeError, KeyError):
            for name, kind, word, chosen, unit in json.loads(captured or b"[]"):
                names.held[str(name), int(kind), str(word)] = (str(chosen), str(unit))
                names.taken |= {chosen + suffix for suffix in _SUFFIXES[TYPES[kind]]}
        return names

    def reserve(self, name: str, kind: str) -> bool:
        """Keep the names of another writer's family from instruments; False where an instrument owns one."""
        if name not in self.reserved:
            claims = {name + suffix for suffix in _SUFFIXES.get(kind, ("", "_info", "_count", "_sum"))}
            if not claims.isdisjoint(self.taken):
                return False
            self.taken |= claims
            self.reserved.add(name)
        return True

    def _claim(self, wanted: str, kind: str) -> str:
        # A number, not the kind: promtool rejects a name that contains its type.
        number, choice = 1, wanted
        while not self.taken.isdisjoint(claims := {choice + suffix for suffix in _SUFFIXES[kind]}):
            number += 1
            choice = f"{wanted}_{number}"
        self.taken |= claims
        return choice
