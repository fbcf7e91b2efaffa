"""Where events enter: `emit` puts one into the spool and returns.

`emit` is called on the order path. It never raises (but in strict mode), never waits for anything but one
copy into the spool (at the end of a segment, for the next one), and what it took survives a kill of the process.
Do not call it from a handler installed by `signal.signal` or from `__del__`: those may run inside another call.
"""

from __future__ import annotations

import enum
import logging
import marshal
import secrets
import struct
import time
from collections import Counter
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any
from zlib import crc32

from producer.declare import Catalogue, Event, define
from producer.ledger import Ledger
from producer.settings import TelemetrySettings
from producer.spool.format import MARSHAL_VERSION, Row, SessionMeta, encode_row
from producer.spool.unacked_queue import DAMAGED
from producer.spool.writer import Bounds, Spool
from producer.trace import current_trace

Emit = Callable[[tuple[Any, ...]], None]
"""What a part takes that tells of what happens: `emitter.emit`."""

log = logging.getLogger(__name__)
MAX_EVENT_BYTES = 32_768
MAX_TEXT = 400
"""Characters that are left of each text of an event that is larger than that."""


class MisuseError(TypeError):
    """An event is not of the catalogue, or does not have the fields that its declaration says."""


class Emitter:
    """The broker's events, from `emit` until the sidecar has acknowledged them. Closed by `close`.

    `clock` gives nanoseconds since the epoch. Threads and asyncio may both call `emit`; the order of the
    sequence is the order of the spool. With `settings.strict`, an event that does not fit its declaration
    raises MisuseError; otherwise it is counted, and mended where that is possible.
    """

    __slots__ = (
        "_clock",
        "_codes",
        "_constant",
        "_declared",
        "_events",
        "_members",
        "_mixed",
        "_strict",
        "emit",
        "mended",
        "rejected",
        "spool",
    )

    def __init__(
        self,
        settings: TelemetrySettings,
        *,
        catalogue: Catalogue,
        clock: Callable[[], int] = time.time_ns,
        session_id: str | None = None,
        resource: Mapping[str, str] | None = None,
    ) -> None:
        started_ns = clock()
        self._constant = {"broker": settings.venue} if settings.venue else {}
        meta = SessionMeta(
            producer_id=settings.producer_id,
            session_id=session_id or f"{started_ns:x}-{secrets.token_hex(4)}",
            started_ns=started_ns,
            resource=tuple(sorted((resource or {}).items())),
            defines=catalogue.defines(self._constant),
        )
        self._clock = clock
        self._strict = settings.strict
        self._events = dict(enumerate(catalogue.events, start=1))
        self._declared = {item.type: code for code, item in self._events.items()}
        self._codes: dict[type, int] = {} if self._strict else dict(self._declared)
        self.spool = Spool(settings.spool_directory, meta, _bounds(settings, catalogue))
        self._members: dict[enum.StrEnum, str] = {}
        """Members of enumerations that events had, with their values."""
        self._mixed: dict[type, int] = {}
        """Events that have such members: `marshal` takes none."""
        self.rejected: Counter[str] = Counter()
        self.mended: Counter[tuple[str, str]] = Counter()
        self.emit: Emit = _short_way(self._codes, clock, self.spool, self._emit_slowly)
        """Takes an event of the catalogue. When it has returned, the event is counted, or dropped and counted so."""

    def declare(self, event: Event) -> None:
        """Takes a further event type, from any thread; `emit` takes its events from then on.

        It is not checked against the catalogue: an instrument that two types feed has one kind, unit and buckets.
        """
        with self.spool.guard:
            code = len(self._events) + 1
            self.spool.define(define(event, code, self._constant))
            self._events[code] = event
            self._declared[event.type] = code
            if not self._strict:
                self._codes[event.type] = code

    def refuse(self, name: str, reason: str) -> None:
        """Counts an event that was emitted and cannot be taken, whatever the reason; it stands in the ledger."""
        self._drop(name, reason)

    def _emit_slowly(self, event: tuple[Any, ...]) -> None:
        """What `emit` could not do at once: a new segment, values of other classes, refusals, misuse."""
        try:
            if not self._emit_mixed(event):
                self._admit(event)
        except MisuseError:
            if self._strict:
                raise
        except Exception:
            log.exception("event lost")
            self._drop("unknown", "internal_error")

    def _emit_mixed(self, event: tuple[Any, ...]) -> bool:
        """Takes an event whose enumerations are all known; whether it did."""
        code = self._mixed.get(event.__class__)
        if code is None:
            return False
        value_of = self._members.get
        try:
            fields = [value_of(value, value) for value in event]
            self.spool.put(encode_row((code, self._clock(), current_trace.get(), *fields)))
        except (TypeError, ValueError):  # a value of another kind, a new member, or no room
            return False
        return True

    def _admit(self, event: tuple[Any, ...]) -> None:
        code = self._declared.get(event.__class__)
        if code is None:
            self._drop("unknown", "unknown_event")
            raise MisuseError(f"{type(event).__name__} is not an event of the catalogue: declare it there")
        declared = self._events[code]
        self._check(declared, event)
        fields = tuple(map(plain, event))
        lost = sum(after is None and before is not None for after, before in zip(fields, event, strict=True))
        if lost:
            self.mended[declared.name, "wrong_type"] += lost
        self._learn(event, code)
        row = (code, self._clock(), current_trace.get(), *fields)
        frame = encode_row(row)
        if len(frame) > MAX_EVENT_BYTES:
            row = _shortened(row)
            frame = encode_row(row)
        with self.spool.guard:
            reason = self.spool.add(code, frame)
            if reason is not None:
                self.spool.dropped[declared.name, reason] += 1

    def _learn(self, event: tuple[Any, ...], code: int) -> None:
        """The short way would fail at each event of this type: it takes the next longer one."""
        members = list(filter(_is_member, event))
        if members and not self._strict:
            self._members.update((member, member.value) for member in members)
            self._codes.pop(event.__class__, None)
            self._mixed[event.__class__] = code

    def _check(self, declared: Event, event: tuple[Any, ...]) -> None:
        columns = declared.columns
        if len(event) != len(columns):
            self._drop(declared.name, "wrong_arity")
            raise MisuseError(f"{declared.name} has {len(columns)} fields, not {len(event)}")
        if not self._strict:
            return
        for column, value in zip(columns, event, strict=True):
            if not column.takes(value):
                self._drop(declared.name, "wrong_type")
                raise MisuseError(f"{declared.name}.{column.name} takes {column.words}, not {type(value).__name__}")

    def _drop(self, name: str, reason: str) -> None:
        with self.spool.guard:
            self.spool.dropped[name, reason] += 1

    def ledger(self) -> Ledger:
        """What became of every event so far."""
        spool = self.spool
        with spool.guard:
            last, held, dropped, size = spool.last, spool.held_locked(), dict(spool.dropped), spool.size
        lost_after_taken = dropped.get(DAMAGED, 0)
        return Ledger(
            emitted=last + sum(dropped.values()) - lost_after_taken,
            acknowledged=last - held - lost_after_taken,
            held=held,
            spool_bytes=size,
            dropped=dropped,
            rejected=dict(self.rejected),
            mended=dict(self.mended),
        )

    def close(self) -> None:
        """Takes nothing more; what is not acknowledged stays in the spool for the next process."""
        self.spool.close()


def _short_way(codes: Mapping[type, int], clock: Callable[[], int], spool: Spool, slowly: Emit) -> Emit:
    """How almost every event goes: encoded, framed and copied. A closure, for names of a cell cost least."""
    trace, dumps, pack, checksum = current_trace.get, marshal.dumps, struct.Struct("<II").pack, crc32

    def emit(event: tuple[Any, ...]) -> None:
        try:
            data = dumps((codes[event.__class__], clock(), trace()) + event, MARSHAL_VERSION)  # noqa: RUF005 - costs half
            spool.put(pack(len(data), checksum(data)) + data)  # a record of `pod_runtime.framing`, without the call
        except Exception:  # noqa: BLE001 - whatever it was, the slow way finds out and counts it
            slowly(event)

    return emit


def _bounds(settings: TelemetrySettings, catalogue: Catalogue) -> Bounds:
    return Bounds(
        limit=settings.spool_bytes,
        segment_bytes=settings.segment_bytes,
        memory_bytes=settings.memory_bytes,
        reserve=settings.reserve_ratio,
        reserved=frozenset(code for code, event in enumerate(catalogue.events, start=1) if event.reserved),
    )


def _is_member(value: Any) -> bool:
    return isinstance(value, enum.StrEnum)


_EXACT = frozenset({str, int, float, bool, type(None)})


def plain(value: Any) -> Any:
    """A field's value as text, number, boolean or None: what an enumeration means, what a Decimal says."""
    if type(value) in _EXACT:
        return value
    if isinstance(value, enum.Enum):
        return plain(value.value)
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value) if kind is not str else str.__str__(value)
    return str(value) if isinstance(value, Decimal) else None


def _shortened(row: Row) -> Row:
    return tuple(value[:MAX_TEXT] if isinstance(value, str) else value for value in row)
