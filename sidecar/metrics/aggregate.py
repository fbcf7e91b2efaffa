"""Aggregate: turns batches of columns into metric series, exactly once.

From columns to series. A stream defines its event types; each becomes an `EventTypePlan` with one `InstrumentFeed`
for each instrument that the type names: the places of its labels and its measure among the columns. `apply` decodes
the columns of a group once (`columns.GroupColumns`), splits them by label combination, and adds each part to its
series in one call (`columns.MetricUpdate`). A feed remembers the series of label values, so a known combination
costs one dictionary look-up a group.

Exactly once. Everything here is a function of the calls made and of their order: no clock, no chance, no state
outside. Times are arguments that stand in the journal beside the batch. So a checkpoint and the same calls since
then make the very state that the process had (`checkpoint.replay`). Duplicates never reach this module:
`ingest.accept` removes them by sequence. Presets, series that a definition wants to exist at zero, wait for the
first batch of the stream: a definition has no time in the journal that a replay could give them again.

Producers and sessions. Counters and histograms belong to the producer and outlive its restarts. Gauges and up-down
counters describe one process: they belong to the producer's current session, and go when it ends (Goodbye, a newer
session, or a grace period after its stream broke). A recovery stream delivers what a dead session left behind: its
counters count, its gauges are refused as `session_ended`.

Definitions. All definitions of an instrument's name agree in kind, unit and bounds. One that differs is refused,
and its measurements count as `definition_conflict`; a newer session's program may have changed, so its definition
takes the name over and the old table is retired with its series.

Bounds, and beyond them. An instrument has at most `max_series` series, a producer `max_producer_series` and
`max_instruments`. A measurement for which no series is left goes to the overflow series of its instrument
(OpenTelemetry, cardinality limits), counted in `overflow`: totals stay right, labels are lost. So do series with a
label of over a thousand characters, which is a text that somebody labelled by mistake. Numbers that an instrument
cannot take (NaN, infinity, a negative increment) are counted in `refused`.

Ends. Where an instrument says so (`absent_ends`), an event without a value ends its series: a program has stopped to
observe it. The event stands in the journal as any other.

Expiry. Series without a measurement for `idle_expiry_s` are forgotten and their places are free again; presets
stay. The journal records each expiry, so that a replay forgets the same series at the same point.

Reading. A snapshot is immutable and shares every family that has not changed with the snapshot before. A checkpoint
reads series while they change, by copy on write (`series.SeriesCapture`), a hundred rows a turn: writing it never
holds ingest up for longer than that.

Not the OpenTelemetry SDK: its instruments take one measurement a call, cannot be restored from a checkpoint, and do
not keep one producer's series apart from another's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sidecar.metrics.columns import GroupColumns, InstrumentFeed, MetricUpdate
from sidecar.metrics.series import InstrumentTable, Row, Series, identity, labels_of, new_series
from sidecar.telemetry.model import EventType, Family, Labels, MetricInstrument, ProducerMetrics, Session, Snapshot
from telemetry_contract.v1 import telemetry_pb2 as pb

OVERFLOW: Labels = (("otel.metric.overflow", "true"),)
"""Attributes of the series for measurements beyond a limit (OpenTelemetry metrics SDK, cardinality limits)."""

MAX_LABEL = 1024
"""Characters of a label's value; a series with a longer one overflows: a label has few values, and short ones."""

SESSION_KINDS = frozenset({pb.INSTRUMENT_KIND_UP_DOWN_COUNTER, pb.INSTRUMENT_KIND_GAUGE})


@dataclass(frozen=True, slots=True)
class SeriesLimits:
    """Most series of an instrument and of a producer, and most instruments of a producer."""

    instrument: int = 2000
    producer: int = 50_000
    instruments: int = 1000


@dataclass(slots=True)
class ProducerInstruments:
    """Instruments of a producer, and the session that owns its gauges."""

    resource: tuple[tuple[str, str], ...] = ()
    session_id: str = ""
    tables: dict[str, InstrumentTable] = field(default_factory=dict)
    series: int = 0


@dataclass(slots=True)
class EventTypePlan:
    """Feeds of the events of one type of one stream."""

    kind: EventType
    producer_id: str
    producer: ProducerInstruments
    session_id: str
    gauges: bool
    feeds: list[InstrumentFeed]
    refused: list[str]


class Aggregate:
    """Metrics of all producers. One event loop only."""

    def __init__(self, limit: SeriesLimits | None = None) -> None:
        self._limit = limit or SeriesLimits()
        self._producers: dict[str, ProducerInstruments] = {}
        self._plans: dict[int, dict[int, EventTypePlan]] = {}
        self._presets_due: dict[int, list[EventTypePlan]] = {}
        """Event types whose presets the first batch creates, by stream."""
        self.refused: Counter[tuple[str, str, str]] = Counter()
        """Refused measurements, by (producer, instrument, reason)."""
        self.overflow: Counter[tuple[str, str]] = Counter()
        """Measurements in overflow series, by (producer, instrument)."""
        self._latest_start_ns = 0

    def begin(self, session: Session) -> None:
        """Begin a live session, or go on with it; end the gauges of the producer's other sessions."""
        producer = self._producers.setdefault(session.producer_id, ProducerInstruments())
        producer.resource = session.resource
        # The same session on a new stream (a reconnect, a restart of the sidecar) keeps its gauges.
        if producer.session_id != session.session_id:
            self._end_session_series(producer)
            producer.session_id = session.session_id

    def end(self, session: Session) -> None:
        """End a session, and its gauges and up-down counters with it."""
        producer = self._producers.get(session.producer_id)
        # A late end of an older session does not touch the gauges of the one that followed it.
        if producer is not None and producer.session_id == session.session_id:
            self._end_session_series(producer)
            producer.session_id = ""

    def _end_session_series(self, producer: ProducerInstruments) -> None:
        for table in producer.tables.values():
            if table.instrument.kind in SESSION_KINDS and table.series:
                producer.series -= len(table.series)
                # A new dictionary: a capture under way reads its own list of the old series.
                table.series = {}
                table.frozen = None
        self._forget_caches()

    def _forget_caches(self) -> None:
        for plans in self._plans.values():
            for plan in plans.values():
                for feed in plan.feeds:
                    feed.cache.clear()

    def define(self, stream: int, session: Session, kind: EventType, *, recovery: bool) -> tuple[str, ...]:
        """Take an event type of a stream; return the names of its refused instruments.

        An instrument whose kind, unit or bounds differ from its name's earlier meaning is refused, unless a newer
        session brings it. Defining a type again changes nothing.
        """
        # In a replay each segment repeats the definitions that it needs.
        if kind.event_id in self._plans.setdefault(stream, {}):
            return ()
        producer = self._producers.setdefault(session.producer_id, ProducerInstruments(resource=session.resource))
        feeds: list[InstrumentFeed] = []
        refused: list[str] = []
        for instrument in kind.instruments:
            table = self._claim(producer, instrument, stream, session.session_id, recovery=recovery)
            if table is None:
                refused.append(instrument.name)
            else:
                feeds.append(InstrumentFeed.of(kind, instrument, table))
        plan = EventTypePlan(kind, session.producer_id, producer, session.session_id, not recovery, feeds, refused)
        self._plans[stream][kind.event_id] = plan
        # Also for a recovery stream: its counters belong to the same producer.
        if any(feed.presets for feed in feeds):
            self._presets_due.setdefault(stream, []).append(plan)
        return tuple(dict.fromkeys(refused))

    def _claim(
        self, producer: ProducerInstruments, item: MetricInstrument, stream: int, session_id: str, *, recovery: bool
    ) -> InstrumentTable | None:
        table = producer.tables.get(item.name)
        if table is None:
            if len(producer.tables) >= self._limit.instruments:
                return None
            table = producer.tables[item.name] = InstrumentTable(item, stream, session_id)
        elif identity(table.instrument) != identity(item):
            # Stream numbers grow, over restarts too: a lower one speaks for an older program.
            if recovery or stream <= table.owner or session_id == table.owner_session:
                return None
            producer.series -= len(table.series)
            table.retired = True
            table = producer.tables[item.name] = InstrumentTable(item, stream, session_id)
        elif not recovery and stream > table.owner:
            table.owner, table.owner_session = stream, session_id
        return table

    def forget_stream(self, stream: int) -> None:
        """Drop the event types of a stream that has ended."""
        self._plans.pop(stream, None)
        self._presets_due.pop(stream, None)

    def apply(self, stream: int, batch: pb.Batch, received_ns: int) -> None:
        """Take the measurements of a batch with valid groups of known types."""
        # Not in `define`, which has no time in the journal that a replay could give again.
        for plan in self._presets_due.pop(stream, ()):
            self._preset(plan, received_ns)
        for group in batch.groups:
            plan = self._plans[stream][group.event_id]
            for name in plan.refused:
                self.refused[plan.producer_id, name, "definition_conflict"] += group.count
            if plan.feeds:
                self._apply_group(plan, GroupColumns(group, plan.kind), batch.first_sequence, received_ns)

    def _apply_group(self, plan: EventTypePlan, columns: GroupColumns, first_sequence: int, now_ns: int) -> None:
        # Asked for each group: the session may have ended since the stream was opened.
        live = plan.gauges and plan.producer.session_id == plan.session_id
        sampled = columns.sampled_rows()
        for feed in plan.feeds:
            table = feed.table
            name = plan.producer_id, table.instrument.name
            if table.retired or (table.instrument.kind in SESSION_KINDS and not live):
                self.refused[*name, "definition_conflict" if table.retired else "session_ended"] += columns.count
                continue
            table.frozen = None

            # `feed` as a default: a closure would see the feed of the loop's last turn.
            def find(texts: tuple[str, ...], events: int, feed: InstrumentFeed = feed) -> Series:
                series = feed.cache.get(texts) or self._find_series(plan, feed, texts, events, now_ns)
                # Two attributes in the common case: a checkpoint under way wants the old row of a series before its
                # first change.
                if feed.table.capture is not series.reader:
                    feed.table.before_change(series)
                return series

            update = MetricUpdate(columns, feed, find, first_sequence, now_ns)
            update.record()
            if update.refused:
                self.refused[*name, "bad_number"] += update.refused
            if sampled:
                update.keep_exemplars(sampled)
            for texts in update.ended():
                self._end_series(plan, feed, texts)

    def _preset(self, plan: EventTypePlan, now_ns: int) -> None:
        for feed in plan.feeds:
            if feed.table.retired:
                continue
            for texts in feed.presets:
                series = self._find_series(plan, feed, texts, 0, now_ns)
                feed.table.kept.add(tuple(sorted(series.labels)))
                feed.table.frozen = None

    def _find_series(
        self, plan: EventTypePlan, feed: InstrumentFeed, texts: tuple[str, ...], events: int, now_ns: int
    ) -> Series:
        table = feed.table
        labels: Labels = (*zip(feed.names, texts, strict=True), *feed.constant)
        key = tuple(sorted(labels))
        found = table.series.get(key)
        if found is None:
            full = len(table.series) - (OVERFLOW in table.series) >= self._limit.instrument
            long = max(map(len, texts), default=0) > MAX_LABEL
            if full or long or plan.producer.series >= self._limit.producer:
                # Not remembered in the feed's cache, which would grow without bound.
                self.overflow[plan.producer_id, table.instrument.name] += events
                return table.series.get(OVERFLOW) or self._new_series(plan, table, OVERFLOW, now_ns)
            found = self._new_series(plan, table, labels, now_ns)
        feed.cache[texts] = found
        return found

    def _new_series(self, plan: EventTypePlan, table: InstrumentTable, labels: Labels, now_ns: int) -> Series:
        plan.producer.series += 1
        self._latest_start_ns = max(self._latest_start_ns, now_ns)
        table.series[tuple(sorted(labels))] = series = new_series(table.instrument, labels, now_ns)
        return series

    def _end_series(self, plan: EventTypePlan, feed: InstrumentFeed, texts: tuple[str, ...]) -> None:
        table = feed.table
        key = tuple(sorted((*zip(feed.names, texts, strict=True), *feed.constant)))
        if key in table.series and key not in table.kept:
            del table.series[key]
            plan.producer.series -= 1
            self._forget_caches()

    def expire(self, now_ns: int, idle_ns: int) -> int:
        """Forget series without a measurement for `idle_ns`; return how many. Their places are free again."""
        expired = 0
        for producer in self._producers.values():
            for table in producer.tables.values():
                old = table.idle(now_ns - idle_ns)
                for key in old:
                    del table.series[key]
                if old:
                    table.frozen = None
                    producer.series -= len(old)
                    expired += len(old)
        if expired:
            self._forget_caches()
        return expired

    def has_idle(self, now_ns: int, idle_ns: int) -> bool:
        """True if `expire` would forget a series."""
        tables = (table for producer in self._producers.values() for table in producer.tables.values())
        return any(table.idle(now_ns - idle_ns) for table in tables)

    def live_sessions(self) -> list[tuple[str, str]]:
        """Producer and session of every session that owns gauges."""
        return [(producer_id, item.session_id) for producer_id, item in self._producers.items() if item.session_id]

    def series_count(self) -> dict[str, int]:
        """Number of series of each producer."""
        return {producer_id: producer.series for producer_id, producer in self._producers.items()}

    def snapshot(self, now_ns: int) -> Snapshot:
        """All metrics at this moment; unchanged families are shared with the snapshot before."""
        # The wall clock was set back: a point that starts after its own time is invalid in OTLP and Prometheus.
        clamp = now_ns < self._latest_start_ns
        producers = []
        for producer_id, producer in sorted(self._producers.items()):
            families = tuple(table.freeze() for _, table in sorted(producer.tables.items()) if table.series)
            if clamp:
                families = tuple(_clamped(family, now_ns) for family in families)
            if families:
                metrics = ProducerMetrics(producer_id=producer_id, resource=producer.resource, families=families)
                producers.append(metrics)
        return Snapshot(time_ns=now_ns, producers=tuple(producers))

    def capture(self) -> list[Row]:
        """Whole state as plain values, one entry for each producer and each instrument.

        The rows of an instrument's series are a `SeriesCapture`: read later, they show this moment.
        """
        rows: list[Row] = []
        for producer_id, producer in self._producers.items():
            rows.append(["producer", producer_id, producer.resource, producer.session_id])
            rows += [["table", producer_id, *table.captured()] for table in producer.tables.values()]
        rows.append(["refused", [[*key, count] for key, count in self.refused.items()]])
        rows.append(["overflow", [[*key, count] for key, count in self.overflow.items()]])
        return rows

    def restore(self, rows: Iterable[Sequence[Any]]) -> None:
        """Load a captured state into an empty aggregate."""
        for row in rows:
            match row:
                case ["producer", producer_id, resource, session_id]:
                    self._producers[producer_id] = ProducerInstruments(labels_of(resource), session_id)
                case ["table", producer_id, *captured]:
                    self._restore_table(producer_id, captured)
                case ["refused", counts]:
                    self.refused.update({(item[0], item[1], item[2]): item[3] for item in counts})
                case ["overflow", counts]:
                    self.overflow.update({(item[0], item[1]): item[2] for item in counts})
                case _:
                    raise ValueError(f"unknown row {row[:1]} in a captured aggregate")

    def _restore_table(self, producer_id: str, captured: Sequence[Any]) -> None:
        producer = self._producers[producer_id]
        table = InstrumentTable.from_capture(captured)
        producer.tables[table.instrument.name] = table
        producer.series += len(table.series)
        starts = [series.start_ns for series in table.series.values()]
        self._latest_start_ns = max([self._latest_start_ns, *starts])


def _clamped(family: Family, now_ns: int) -> Family:
    """Family for a clock that was set back: no point begins after the snapshot."""
    points = [point._replace(start_ns=min(point.start_ns, now_ns)) for point in family.points]
    return replace(family, points=points)
