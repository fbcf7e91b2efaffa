"""The journal, the series, and what came and was not understood, as measures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from sidecar.selfmetrics.measure import Measure, Reading, alone, counter, each, gauge


class Journaled(Protocol):
    """What the table reads of the telemetry pipeline."""

    def journal_status(self) -> Any:
        """The journal's figures."""

    def series(self) -> Mapping[str, int]:
        """Series by producer."""

    def overflow(self) -> Mapping[tuple[str, str], int]:
        """Measurements in overflow series by producer and instrument."""

    def refused_measurements(self) -> Mapping[tuple[str, str, str], int]:
        """Measurements refused by producer, instrument and reason."""

    def ingest_counts(self) -> Any:
        """Messages that were not understood."""


def journal_measures(pipeline: Journaled) -> list[Measure]:
    """The journal, the series, and what came and was not understood."""

    def journal(name: str) -> Callable[[], list[Reading]]:
        return lambda: alone(getattr(pipeline.journal_status(), name))

    def ingest(name: str) -> Callable[[], list[Reading]]:
        return lambda: alone(getattr(pipeline.ingest_counts(), name))

    def failing() -> list[Reading]:
        return alone(int(bool(pipeline.journal_status().error)))

    def series() -> list[Reading]:
        return each("producer", pipeline.series().items())

    def overflow() -> list[Reading]:
        return [
            ({"producer": producer, "instrument": instrument}, number)
            for (producer, instrument), number in pipeline.overflow().items()
        ]

    def refused() -> list[Reading]:
        return [
            ({"producer": producer, "instrument": instrument, "reason": reason}, number)
            for (producer, instrument, reason), number in pipeline.refused_measurements().items()
        ]

    def rules() -> list[Reading]:
        return each("rule", pipeline.ingest_counts().broken_rules.items())

    return [
        gauge("telemetry.journal.size", "By", "Bytes that the journal takes", journal("bytes_used")),
        gauge("telemetry.journal.limit", "By", "Bytes that it may take", journal("bytes_limit")),
        gauge("telemetry.journal.segments", "{segment}", "Files of the journal", journal("segments")),
        gauge("telemetry.journal.failing", "", "Whether the volume takes nothing", failing),
        counter("telemetry.journal.damaged", "By", "Bytes that were set aside as damaged", journal("damaged_bytes")),
        counter("telemetry.journal.waits", "{batch}", "Batches that waited for the volume", ingest("journal_waits")),
        gauge("telemetry.series", "{series}", "Series of each producer", series),
        counter("telemetry.series.overflow", "{measurement}", "Measurements in overflow series", overflow),
        counter(
            "telemetry.measurements.refused",
            "{measurement}",
            "Measurements that their instrument cannot take",
            refused,
        ),
        counter(
            "telemetry.messages.unknown",
            "{message}",
            "Messages of a kind that this version does not know",
            ingest("unknown_messages"),
        ),
        counter(
            "telemetry.messages.malformed", "{message}", "Messages that are no protobuf", ingest("malformed_messages")
        ),
        counter("telemetry.streams.refused", "{stream}", "Streams ended for a broken rule", rules),
    ]
