"""The entrance of events: `emit` puts one into the spool and returns.

`emit` is made for hot paths. It never raises (except in strict mode) and never waits, except at the end of a segment
for the next one. An event that it took survives a kill of the process. Do not call it from a handler installed by
`signal.signal` or from `__del__`: those may run inside another call of it.

An event goes one of three ways, the fastest that it fits:

1. `_fast_path`: encode, frame, copy. No lock, no check: `marshal` itself refuses values that are no plain ones. It
   writes whatever has a buffer as bytes, though, and so every scalar of numpy: once numpy is loaded (`watch_numpy`)
   each event's types are looked at first.
2. `_emit_members`: as 1, for event types in which members of StrEnums were seen, which `marshal` refuses; each
   member is replaced by its text from a table.
3. `_admit`: everything else. Checks the event, coerces its values, teaches the second way, finds room or a reason.
"""

from __future__ import annotations

import enum
import logging
import marshal
import secrets
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from zlib import crc32

from producer.declare import Catalogue, Event, define
from producer.fork import watch_forks
from producer.health import EmitterLedger
from producer.plain_values import are_plain, plain_value
from producer.settings import ProducerSettings
from producer.spool.format import FIXED_COLUMNS, MARSHAL_VERSION, Row, SessionMeta, encode_row
from producer.spool.spool import Spool
from producer.spool.writer import SegmentWriter
from producer.trace import current_trace

# Signature of `Emitter.emit`; pass it to components that record events.
Emit = Callable[[tuple[Any, ...]], None]
# Signature of `Emitter.emit_at`: an event, and its time in nanoseconds since the epoch.
EmitAt = Callable[[tuple[Any, ...], int], None]

log = logging.getLogger(__name__)
# Half of the smallest segment, so that any event fits a new one.
MAX_EVENT_BYTES = 32_768
# Characters that are left of each text of an event that is larger than that.
MAX_TEXT = 400
# Times that the wire carries: nanoseconds in 64 bits, with room for offsets.
MAX_TIME_NS = 1 << 62


class MisuseError(TypeError):
    """An event is not in the catalogue, or does not have the fields of its declaration."""


class Emitter:
    """The events of a producer, from `emit` until the sidecar has acknowledged them. Closed by `close`.

    `clock` gives nanoseconds since the epoch; `constant_labels` go on every metric. Threads and asyncio may both call
    `emit`; the order of the sequence is the order of the spool. With `settings.strict`, an event that does not fit
    its declaration raises MisuseError; otherwise it is counted, and coerced if that is possible.
    """

    def __init__(
        self,
        settings: ProducerSettings,
        *,
        catalogue: Catalogue,
        clock: Callable[[], int] = time.time_ns,
        session_id: str | None = None,
        resource: Mapping[str, str] | None = None,
        constant_labels: Mapping[str, str] | None = None,
    ) -> None:
        started_ns = clock()
        self._constant_labels = dict(constant_labels or {})
        meta = SessionMeta(
            producer_id=settings.producer_id,
            # Names of sessions sort by age; the random part tells apart two starts at one time of a coarse clock.
            session_id=session_id or f"{started_ns:x}-{secrets.token_hex(4)}",
            started_ns=started_ns,
            resource=tuple(sorted((resource or {}).items())),
            defines=catalogue.defines(self._constant_labels),
        )
        self._clock = clock
        self._strict = settings.strict
        self._events = dict(enumerate(catalogue.events, start=1))
        self._declared = {item.type: code for code, item in self._events.items()}
        self._declaring = threading.Lock()
        # Types on the fast path. Strict mode has none: every event is checked.
        self._codes: dict[type, int] = {} if self._strict else dict(self._declared)
        self._member_codes: dict[type, int] = {}
        self._member_texts: dict[enum.StrEnum, str] = {}
        reserved = frozenset(code for code, event in self._events.items() if event.reserved)
        self.spool = Spool(settings, meta, reserved)
        self.rejected: Counter[str] = Counter()
        self.coerced: Counter[tuple[str, str]] = Counter()
        self.emit, self._look_at_types = _fast_path(self._codes, clock, self.spool.writer, self._emit_slowly)
        """Takes an event of the catalogue. When it has returned, the event is counted, or dropped and counted so."""
        self._looks_at_types = False
        self.watch_numpy()
        watch_forks(self)

    def watch_numpy(self) -> None:
        """Has the types of each event looked at once numpy is loaded; call it now and then."""
        if not self._looks_at_types and "numpy" in sys.modules:
            self._looks_at_types = True
            self._look_at_types()

    def emit_at(self, event: tuple[Any, ...], time_ns: int) -> None:
        """Takes an event that happened at `time_ns` since the epoch; one that no clock gives is taken for now."""
        known = isinstance(time_ns, int) and 0 < time_ns < MAX_TIME_NS
        self._take(event, time_ns if known else self._clock())

    def forked(self) -> None:
        """Leaves the spool to the parent; events of the child are refused as `forked` (`producer.fork`)."""
        self._declaring = threading.Lock()
        self.rejected.clear()
        self.coerced.clear()
        self.spool.forked()

    def declare(self, event: Event) -> None:
        """Adds an event type, from any thread; `emit` takes its events from then on.

        It is not checked against the catalogue: an instrument that two types feed has one kind, unit and buckets.
        """
        with self._declaring:
            code = len(self._events) + 1
            self.spool.define(define(event, code, self._constant_labels))
            self._events[code] = event
            self._declared[event.type] = code
            if not self._strict:
                self._codes[event.type] = code

    def drop(self, name: str, reason: str) -> None:
        """Counts an event that was emitted and cannot be taken; the ledger shows it under `reason`."""
        self.spool.drop(name, reason)

    def _emit_slowly(self, event: tuple[Any, ...]) -> None:
        try:
            taken = self._emit_members(event)
        except Exception:  # noqa: BLE001 - whatever it was, `_admit` finds out and counts it
            taken = False
        if not taken:
            self._take(event, self._clock())

    def _take(self, event: tuple[Any, ...], time_ns: int) -> None:
        try:
            self._admit(event, time_ns)
        except MisuseError:
            if self._strict:
                raise
        except Exception:
            log.exception("event lost")
            self.drop("unknown", "internal_error")

    def _emit_members(self, event: tuple[Any, ...]) -> bool:
        """Takes an event whose enumerations are all known; False if it could not."""
        code = self._member_codes.get(event.__class__)
        if code is None:
            return False
        text_of = self._member_texts.get
        try:
            fields = [text_of(value, value) for value in event]
            if self._looks_at_types and not are_plain(fields):
                return False
            self.spool.writer.append(encode_row((code, self._clock(), current_trace.get(), *fields)))
        except (TypeError, ValueError):  # a value of another kind, a new member, or no room
            return False
        return True

    def _admit(self, event: tuple[Any, ...], time_ns: int) -> None:
        code = self._declared.get(event.__class__)
        if code is None:
            self.drop("unknown", "unknown_event")
            raise MisuseError(f"{type(event).__name__} is not an event of the catalogue: declare it there")
        declared = self._events[code]
        self._check(declared, event)
        fields = tuple(map(plain_value, event, [column.type for column in declared.columns]))
        lost = sum(after is None and before is not None for after, before in zip(fields, event, strict=True))
        if lost:
            self.coerced[declared.name, "wrong_type"] += lost
        self._learn_members(event, code)
        row: Row = (code, time_ns, current_trace.get(), *fields)
        record = encode_row(row)
        if len(record) > MAX_EVENT_BYTES:  # shortened, not refused: its numbers and the head of its texts still count
            record = encode_row(tuple(value[:MAX_TEXT] if isinstance(value, str) else value for value in row))
        self.spool.add(code, declared.name, record)

    def _learn_members(self, event: tuple[Any, ...], code: int) -> None:
        members = [value for value in event if isinstance(value, enum.StrEnum)]
        if members and not self._strict:
            # The fast path would fail at each event of this type: from now on it fails at the lookup of the code.
            self._member_texts.update((member, member.value) for member in members)
            self._codes.pop(event.__class__, None)
            self._member_codes[event.__class__] = code

    def _check(self, declared: Event, event: tuple[Any, ...]) -> None:
        columns = declared.columns
        if len(event) != len(columns):
            self.drop(declared.name, "wrong_arity")
            raise MisuseError(f"{declared.name} has {len(columns)} fields, not {len(event)}")
        if not self._strict:
            return
        for column, value in zip(columns, event, strict=True):
            if not column.takes(value):
                self.drop(declared.name, "wrong_type")
                raise MisuseError(f"{declared.name}.{column.name} takes {column.words}, not {type(value).__name__}")

    def ledger(self) -> EmitterLedger:
        """Fate of every event so far."""
        return replace(self.spool.ledger(), rejected=dict(self.rejected), coerced=dict(self.coerced))

    def close(self) -> None:
        """Takes nothing more; events that are not acknowledged stay in the spool for the next process."""
        self.spool.close()


def _fast_path(
    codes: Mapping[type, int], clock: Callable[[], int], writer: SegmentWriter, emit_slowly: Emit
) -> tuple[Emit, Callable[[], None]]:
    """The function that emits, and one that makes it look at the types of each event from then on."""
    # A closure, for names of a cell cost least; measured by `bench.emit_parts`, as is every line below.
    trace, pack, checksum = current_trace.get, struct.Struct("<II").pack, crc32
    dumps: Callable[[Row, int], bytes] = marshal.dumps

    def emit(event: tuple[Any, ...]) -> None:
        try:
            data = dumps((codes[event.__class__], clock(), trace()) + event, MARSHAL_VERSION)  # noqa: RUF005 - costs half
            # A record of `pod_runtime.framing`, without the call.
            writer.append(pack(len(data), checksum(data)) + data)
        except Exception:  # noqa: BLE001 - whatever it was, the slow path finds out and counts it
            emit_slowly(event)

    def look_at_types() -> None:
        nonlocal dumps
        dumps = _dumps_plain

    return emit, look_at_types


def _dumps_plain(row: Row, version: int) -> bytes:
    if not are_plain(row[FIXED_COLUMNS:]):
        raise TypeError
    return marshal.dumps(row, version)
