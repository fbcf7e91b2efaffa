"""Batches into series: whole columns at a time, exact, and the same again in a replay.

Everything is a function of the calls made, in their order, so that a checkpoint and the calls since make the
state that the process had. Counters and histograms belong to the producer; gauges and up-down counters to
its current session.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sidecar.metrics.columns import Columns
from sidecar.metrics.series import Row, Series, labels_of, new_series
from sidecar.metrics.table import Table, identity
from sidecar.metrics.update import Feed, Measuring
from sidecar.telemetry.model import EventType, Family, Instrument, Labels, ProducerMetrics, Session, Snapshot
from telemetry_contract.v1 import telemetry_pb2 as pb

OVERFLOW: Labels = (("otel.metric.overflow", "true"),)
"""Attributes of the series that takes what the limit leaves out (OpenTelemetry metrics SDK, cardinality limits)."""

MAX_LABEL = 1024
"""Characters of a label's value; a series with a longer one overflows, for a label has few values, and short ones."""

SESSION_KINDS = frozenset({pb.INSTRUMENT_KIND_UP_DOWN_COUNTER, pb.INSTRUMENT_KIND_GAUGE})


@dataclass(frozen=True, slots=True)
class Limit:
    """How many series there may be: of an instrument, of a producer; and how many instruments of a producer."""

    instrument: int = 2000
    producer: int = 50_000
    instruments: int = 1000


@dataclass(slots=True)
class Producer:
    """The instruments of a producer, and the session that owns its gauges."""

    resource: tuple[tuple[str, str], ...] = ()
    session_id: str = ""
    tables: dict[str, Table] = field(default_factory=dict)
    series: int = 0


@dataclass(slots=True)
class Plan:
    """What becomes of the events of one type of one stream."""

    kind: EventType
    producer_id: str
    producer: Producer
    session_id: str
    gauges: bool
    feeds: list[Feed[Table]]
    refused: list[str]


class Aggregate:
    """The metrics of all producers. One event loop only."""

    def __init__(self, limit: Limit | None = None) -> None:
        self._limit = limit or Limit()
        self._producers: dict[str, Producer] = {}
        self._plans: dict[int, dict[int, Plan]] = {}
        self._unset: dict[int, list[Plan]] = {}
        """Event types whose presets are to be made, by stream."""
        self.refused: Counter[tuple[str, str, str]] = Counter()
        """Measurements that were not taken, by (producer, instrument, reason)."""
        self.overflow: Counter[tuple[str, str]] = Counter()
        """Measurements that went to an overflow series, by (producer, instrument)."""
        self._latest_start_ns = 0

    def begin(self, session: Session) -> None:
        """A live session begins, or goes on: the gauges of the producer's other sessions end."""
        producer = self._producers.setdefault(session.producer_id, Producer())
        producer.resource = session.resource
        if producer.session_id != session.session_id:
            self._end_session_series(producer)
            producer.session_id = session.session_id

    def end(self, session: Session) -> None:
        """A session ends, and its gauges and up-down counters with it."""
        producer = self._producers.get(session.producer_id)
        if producer is not None and producer.session_id == session.session_id:
            self._end_session_series(producer)
            producer.session_id = ""

    def _end_session_series(self, producer: Producer) -> None:
        for table in producer.tables.values():
            if table.instrument.kind in SESSION_KINDS and table.series:
                producer.series -= len(table.series)
                table.series = {}
                table.frozen = None
        self._forget_caches()

    def _forget_caches(self) -> None:
        for plans in self._plans.values():
            for plan in plans.values():
                for feed in plan.feeds:
                    feed.cache.clear()

    def define(self, stream: int, session: Session, kind: EventType, *, recovery: bool) -> tuple[str, ...]:
        """Takes an event type of a stream; the names of its instruments that are refused.

        An instrument whose kind, unit or bounds differ from what its name has meant is refused: unless a newer
        session brings it, whose program may have changed. Defining a type again changes nothing.
        """
        if kind.event_id in self._plans.setdefault(stream, {}):
            return ()
        producer = self._producers.setdefault(session.producer_id, Producer(resource=session.resource))
        feeds: list[Feed[Table]] = []
        refused: list[str] = []
        for instrument in kind.instruments:
            table = self._claim(producer, instrument, stream, session.session_id, recovery=recovery)
            if table is None:
                refused.append(instrument.name)
            else:
                feeds.append(Feed.of(kind, instrument, table))
        plan = Plan(kind, session.producer_id, producer, session.session_id, not recovery, feeds, refused)
        self._plans[stream][kind.event_id] = plan
        if any(feed.presets for feed in feeds):
            self._unset.setdefault(stream, []).append(plan)
        return tuple(dict.fromkeys(refused))

    def _claim(
        self, producer: Producer, instrument: Instrument, stream: int, session_id: str, *, recovery: bool
    ) -> Table | None:
        table = producer.tables.get(instrument.name)
        if table is None:
            if len(producer.tables) >= self._limit.instruments:
                return None
            table = producer.tables[instrument.name] = Table(instrument, stream, session_id)
        elif identity(table.instrument) != identity(instrument):
            if recovery or stream <= table.owner or session_id == table.owner_session:
                return None
            producer.series -= len(table.series)
            table.retired = True
            table = producer.tables[instrument.name] = Table(instrument, stream, session_id)
        elif not recovery and stream > table.owner:
            table.owner, table.owner_session = stream, session_id
        return table

    def forget_stream(self, stream: int) -> None:
        """Drops the event types of a stream that has ended."""
        self._plans.pop(stream, None)
        self._unset.pop(stream, None)

    def apply(self, stream: int, batch: pb.Batch, received_ns: int) -> None:
        """Takes the measurements of a batch, whose groups are sound and of known types."""
        # Not when they are defined, which has no time that a replay would give again.
        for plan in self._unset.pop(stream, ()):
            self._preset(plan, received_ns)
        for group in batch.groups:
            plan = self._plans[stream][group.event_id]
            for name in plan.refused:
                self.refused[plan.producer_id, name, "definition_conflict"] += group.count
            if plan.feeds:
                self._apply_group(plan, Columns(group, plan.kind), batch.first_sequence, received_ns)

    def _apply_group(self, plan: Plan, columns: Columns, first_sequence: int, now_ns: int) -> None:
        live = plan.gauges and plan.producer.session_id == plan.session_id
        sampled = columns.sampled_rows()
        for feed in plan.feeds:
            table = feed.table
            name = plan.producer_id, table.instrument.name
            if table.retired or (table.instrument.kind in SESSION_KINDS and not live):
                self.refused[*name, "definition_conflict" if table.retired else "session_ended"] += columns.count
                continue
            table.frozen = None

            def find(texts: tuple[str, ...], events: int, feed: Feed[Table] = feed) -> Series:
                series = feed.cache.get(texts) or self._find(plan, feed, texts, events, now_ns)
                if feed.table.capture is not series.reader:
                    feed.table.before_change(series)
                return series

            measuring = Measuring(columns, feed, find, first_sequence, now_ns)
            measuring.record()
            if measuring.refused:
                self.refused[*name, "bad_number"] += measuring.refused
            if sampled:
                measuring.keep_exemplars(sampled)

    def _preset(self, plan: Plan, now_ns: int) -> None:
        for feed in plan.feeds:
            if feed.table.retired:
                continue
            for texts in feed.presets:
                series = self._find(plan, feed, texts, 0, now_ns)
                feed.table.kept.add(tuple(sorted(series.labels)))
                feed.table.frozen = None

    def _find(self, plan: Plan, feed: Feed[Table], texts: tuple[str, ...], events: int, now_ns: int) -> Series:
        table = feed.table
        labels: Labels = (*zip(feed.names, texts, strict=True), *feed.constant)
        key = tuple(sorted(labels))
        found = table.series.get(key)
        if found is None:
            full = len(table.series) - (OVERFLOW in table.series) >= self._limit.instrument
            long = max(map(len, texts), default=0) > MAX_LABEL
            if full or long or plan.producer.series >= self._limit.producer:
                # Not in the feed's cache, which would grow without bound.
                self.overflow[plan.producer_id, table.instrument.name] += events
                return table.series.get(OVERFLOW) or self._new(plan.producer, table, OVERFLOW, OVERFLOW, now_ns)
            found = self._new(plan.producer, table, key, labels, now_ns)
        feed.cache[texts] = found
        return found

    def _new(self, producer: Producer, table: Table, key: Labels, labels: Labels, now_ns: int) -> Series:
        producer.series += 1
        self._latest_start_ns = max(self._latest_start_ns, now_ns)
        table.series[key] = series = new_series(table.instrument, labels, now_ns)
        return series

    def expire(self, now_ns: int, idle_ns: int) -> int:
        """Forgets series without a measurement for `idle_ns`; how many. Their places are free again."""
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
        """Whether `expire` would forget a series."""
        return any(
            table.idle(now_ns - idle_ns)
            for producer in self._producers.values()
            for table in producer.tables.values()
        )

    def live_sessions(self) -> list[tuple[str, str]]:
        """Producer and session of all gauges there are."""
        return [(producer_id, item.session_id) for producer_id, item in self._producers.items() if item.session_id]

    def series_count(self) -> dict[str, int]:
        """How many series each producer has."""
        return {producer_id: producer.series for producer_id, producer in self._producers.items()}

    def snapshot(self, now_ns: int) -> Snapshot:
        """All metrics at this moment; what has not changed is shared with the snapshot before."""
        clamp = now_ns < self._latest_start_ns
        producers = []
        for producer_id, producer in sorted(self._producers.items()):
            families = [
                producer.tables[name].freeze() for name in sorted(producer.tables) if producer.tables[name].series
            ]
            if clamp:
                families = [_clamped(family, now_ns) for family in families]
            if families:
                metrics = ProducerMetrics(
                    producer_id=producer_id, resource=producer.resource, families=tuple(families)
                )
                producers.append(metrics)
        return Snapshot(time_ns=now_ns, producers=tuple(producers))

    def capture(self) -> list[Row]:
        """The whole state as plain values, one entry for each producer and each instrument.

        The rows of an instrument's series are a `Capture`: read later, they say what is now.
        """
        rows: list[Row] = []
        for producer_id, producer in self._producers.items():
            rows.append(["producer", producer_id, producer.resource, producer.session_id])
            rows += [["table", producer_id, *table.captured()] for table in producer.tables.values()]
        rows.append(["refused", [[*key, count] for key, count in self.refused.items()]])
        rows.append(["overflow", [[*key, count] for key, count in self.overflow.items()]])
        return rows

    def restore(self, rows: Iterable[Sequence[Any]]) -> None:
        """Takes a state that `capture` gave, into an empty aggregate."""
        for row in rows:
            match row:
                case ["producer", producer_id, resource, session_id]:
                    self._producers[producer_id] = Producer(resource=labels_of(resource), session_id=session_id)
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
        table = Table.from_capture(captured)
        producer.tables[table.instrument.name] = table
        producer.series += len(table.series)
        starts = [series.start_ns for series in table.series.values()]
        self._latest_start_ns = max([self._latest_start_ns, *starts])


def _clamped(family: Family, now_ns: int) -> Family:
    """The family for a clock that was set back: no point begins after the snapshot."""
    points = [point._replace(start_ns=min(point.start_ns, now_ns)) for point in family.points]
    return replace(family, points=points)
