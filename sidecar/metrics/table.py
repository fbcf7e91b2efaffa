"""An instrument of one producer, and its series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sidecar.metrics.capture import Capture
from sidecar.metrics.series import Row, Series, labels_of, series_of
from sidecar.telemetry.model import Family, Instrument, Labels


class Table:
    """An instrument of a producer and its series. `owner` is the stream that last claimed its definition.

    Series are found by their labels in alphabetical order: two event types may name them in different orders.
    """

    __slots__ = ("capture", "frozen", "instrument", "kept", "owner", "owner_session", "retired", "series")

    def __init__(self, instrument: Instrument, owner: int, owner_session: str) -> None:
        self.instrument = instrument
        self.owner = owner
        self.owner_session = owner_session
        self.series: dict[Labels, Series] = {}
        self.kept: set[Labels] = set()
        """Series that a definition names: they do not expire, in a replay either."""
        self.retired = False
        self.frozen: Family | None = None
        self.capture: Capture | None = None
        """What a checkpoint has begun to read; `before_change` sees to it that it reads what was."""

    def idle(self, before_ns: int) -> list[Labels]:
        """Series without a measurement since `before_ns`, but for those that are kept."""
        return [key for key, series in self.series.items() if series.touched_ns < before_ns and key not in self.kept]

    def freeze(self) -> Family:
        """The family of the snapshot; the same object until a series changes."""
        family = self.frozen
        if family is None:
            item = self.instrument
            family = Family(
                name=item.name,
                kind=item.kind,
                unit=item.unit,
                description=item.description,
                bounds=item.bounds,
                points=[series.freeze() for series in self.series.values()],
            )
            self.frozen = family
        return family

    def before_change(self, series: Series) -> None:
        """A series takes measurements next."""
        if self.capture is not None:
            if self.capture.done:
                self.capture = None
            else:
                self.capture.hold(series)
        series.reader = self.capture

    def captured(self) -> Row:
        """The state as plain values, the rows of the series as they are now, whenever they are read."""
        item = self.instrument
        self.capture = Capture(self.series.values())
        definition = [item.name, int(item.kind), item.unit, item.description, item.bounds]
        return [definition, self.owner, self.owner_session, self.capture, sorted(self.kept)]

    @classmethod
    def from_capture(cls, captured: Sequence[Any]) -> Table:
        """The table whose state this was."""
        (name, kind, unit, description, bounds), owner, owner_session, rows, kept = captured
        instrument = Instrument(name=name, kind=kind, unit=unit, description=description, bounds=tuple(bounds))
        table = cls(instrument, owner, owner_session)
        table.kept = set(map(labels_of, kept))
        for row in rows:
            series = series_of(instrument, row)
            table.series[tuple(sorted(series.labels))] = series
        return table


def identity(instrument: Instrument) -> tuple[int, str, tuple[float, ...]]:
    """What all definitions of one instrument's name share."""
    return instrument.kind, instrument.unit, instrument.bounds
