"""The series of an instrument as they were at one moment, read while they go on changing.

A checkpoint of many series takes longer to write than ingest may wait. So it is read a part at a time, and a series
that is about to change before its turn gives its row first: copy on write.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from sidecar.metrics.series import Row, Series

PART = 100
"""Rows of one part: a third of a millisecond of encoding."""


class Capture:
    """Rows of the series, each as at the moment of the call; read once, by `parts` or by iteration.

    A series says by its `reader` which capture has its row: the next change of it need not be told.
    """

    def __init__(self, series: Iterable[Series]) -> None:
        self._series = list(series)
        self._held: dict[int, Row] = {}
        self.done = False

    def hold(self, series: Series) -> None:
        """Keeps the row of a series that is about to change, unless it was read."""
        if series.reader is not self:
            series.reader = self
            self._held[id(series)] = series.row()

    def parts(self) -> Iterator[list[Row]]:
        """The rows, some at a time; between two parts the series may change."""
        source, held = iter(self._series), self._held
        while some := list(islice(source, PART)):
            rows = [held[id(series)] if series.reader is self else series.row() for series in some]
            for series in some:
                series.reader = self
            yield rows
        self.done = True
        self._series, self._held = [], {}

    def __iter__(self) -> Iterator[Row]:
        for part in self.parts():
            yield from part
