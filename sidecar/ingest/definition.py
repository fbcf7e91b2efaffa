"""Definitions of event types, checked against the contract: an `EventType`, or every fault at once."""

from __future__ import annotations

import math
from collections.abc import Iterable

from sidecar.ingest.validate import (
    FIELD_TYPES,
    MAX_EVENT_ID,
    MAX_TEXT_BYTES,
    NAME,
    Fault,
    Limits,
    is_ascending,
)
from sidecar.telemetry.model import EventType, Field, Instrument, LogTemplate
from telemetry_contract.v1 import telemetry_pb2 as pb

MAX_NAME = 128
MAX_FIELD_NAME = 64
MAX_INSTRUMENTS = 32
MAX_PRESETS = 256
MAX_BOUNDS = 64
MAX_SEVERITY = 24
_NUMBERS = frozenset({pb.FIELD_TYPE_DOUBLE, pb.FIELD_TYPE_INT64})
_ROLES = frozenset({pb.FIELD_ROLE_LABEL, pb.FIELD_ROLE_MEASURE, pb.FIELD_ROLE_ATTRIBUTE})
_KINDS = frozenset(
    {
        pb.INSTRUMENT_KIND_COUNTER,
        pb.INSTRUMENT_KIND_UP_DOWN_COUNTER,
        pb.INSTRUMENT_KIND_GAUGE,
        pb.INSTRUMENT_KIND_HISTOGRAM,
    }
)


def event_type(define: pb.Define) -> EventType:
    """A definition without faults, as the sidecar holds it."""
    log = None
    if define.HasField("log"):
        log = LogTemplate(
            severity=define.log.severity or pb.SEVERITY_INFO,
            severity_field=define.log.severity_field,
            body=define.log.body,
        )
    return EventType(
        event_id=define.event_id,
        name=define.name,
        fields=tuple(Field(name=item.name, type=item.type, role=item.role) for item in define.fields),
        instruments=tuple(map(_instrument, define.instruments)),
        log=log,
        reserved=define.reserved,
    )


def _instrument(item: pb.Instrument) -> Instrument:
    return Instrument(
        name=item.name,
        kind=item.kind,
        unit=item.unit,
        description=item.description,
        measure=item.measure,
        labels=tuple(item.labels),
        bounds=tuple(item.bounds),
        only_when=tuple(sorted(item.only_when.items())),
        constant_labels=tuple(sorted(item.constant_labels.items())),
        presets=tuple(tuple(each.values) for each in item.presets),
    )


def check_define(define: pb.Define, limits: Limits) -> list[Fault]:
    """Every rule that a definition breaks; empty where it is sound."""
    faults = _event_faults(define, limits)
    faults += _field_faults(define.fields)
    for item in define.instruments:
        faults += [
            Fault(fault.reason, f"{item.name!r}: {fault.message}") for fault in _instrument_faults(item, define)
        ]
    faults += _agreement_faults(define.instruments)
    if define.HasField("log"):
        faults += _log_faults(define)
    return faults


def _event_faults(define: pb.Define, limits: Limits) -> list[Fault]:
    faults = []
    if not 1 <= define.event_id <= MAX_EVENT_ID:
        faults.append(Fault("bad_event_id", f"event_id is {define.event_id}, must be 1 to {MAX_EVENT_ID}"))
    if not _is_name(define.name, MAX_NAME):
        faults.append(
            Fault("bad_name", f"event name {define.name[:80]!r}: must be {NAME.pattern}, 1 to 128 characters")
        )
    if len(define.fields) > limits.max_fields:
        faults.append(Fault("too_many_fields", f"{len(define.fields)} fields, at most {limits.max_fields} are taken"))
    if len(define.instruments) > MAX_INSTRUMENTS:
        faults.append(Fault("too_many_instruments", f"{len(define.instruments)} instruments, at most 32 are taken"))
    return faults


def _is_name(text: str, longest: int) -> bool:
    return len(text) <= longest and NAME.fullmatch(text) is not None


def _field_faults(fields: Iterable[pb.Field]) -> list[Fault]:
    faults, seen = [], set()
    for item in fields:
        if not _is_name(item.name, MAX_FIELD_NAME):
            faults.append(
                Fault("bad_field_name", f"field {item.name[:80]!r}: must be {NAME.pattern}, 1 to 64 characters")
            )
        if item.name in seen:
            faults.append(Fault("duplicate_field", f"field {item.name[:80]!r} stands twice"))
        seen.add(item.name)
        if item.type not in FIELD_TYPES:
            faults.append(Fault("bad_field_type", f"field {item.name[:80]!r}: type {item.type} is not known"))
        if item.role not in _ROLES:
            faults.append(Fault("bad_field_role", f"field {item.name[:80]!r}: role {item.role} is not known"))
        elif item.role == pb.FIELD_ROLE_MEASURE and item.type not in _NUMBERS:
            faults.append(Fault("measure_not_number", f"field {item.name[:80]!r}: a measure is DOUBLE or INT64"))
    return faults


def _instrument_faults(item: pb.Instrument, define: pb.Define) -> list[Fault]:
    labels = {each.name for each in define.fields if each.role == pb.FIELD_ROLE_LABEL}
    measures = {each.name for each in define.fields if each.role == pb.FIELD_ROLE_MEASURE}
    faults = []
    if not _is_name(item.name, MAX_NAME):
        faults.append(Fault("bad_instrument_name", f"name must be {NAME.pattern}, 1 to 128 characters"))
    if item.kind not in _KINDS:
        faults.append(Fault("bad_instrument_kind", f"kind {item.kind} is not known"))
    if len(item.unit) > MAX_FIELD_NAME or len(item.description.encode()) > MAX_TEXT_BYTES:
        faults.append(Fault("text_too_long", "unit takes 64 characters, description 4096 bytes"))
    if item.measure and item.measure not in measures:
        faults.append(Fault("unknown_measure", f"{item.measure[:80]!r} is not a measure field of the event"))
    if not item.measure and item.kind != pb.INSTRUMENT_KIND_COUNTER:
        faults.append(Fault("measure_required", "only a counter records 1 for each event: name a measure field"))
    unknown = [name for name in (*item.labels, *item.only_when) if name not in labels]
    faults += [Fault("unknown_label", f"{name[:80]!r} is not a label field of the event") for name in unknown]
    if len(set(item.labels)) != len(item.labels):
        faults.append(Fault("duplicate_label", "a label stands twice"))
    return faults + _constant_faults(item) + _bounds_faults(item) + _preset_faults(item)


def _preset_faults(item: pb.Instrument) -> list[Fault]:
    if not item.presets:
        return []
    if item.kind not in (pb.INSTRUMENT_KIND_COUNTER, pb.INSTRUMENT_KIND_HISTOGRAM):
        return [Fault("preset_kind", "only counters and histograms begin at zero")]
    if len(item.presets) > MAX_PRESETS:
        return [Fault("too_many_presets", f"{len(item.presets)} presets, at most {MAX_PRESETS} are taken")]
    wrong = [each for each in item.presets if len(each.values) != len(item.labels)]
    return [Fault("preset_length", f"{len(each.values)} values for {len(item.labels)} labels") for each in wrong[:1]]


def _constant_faults(item: pb.Instrument) -> list[Fault]:
    faults = []
    if len(item.constant_labels) > MAX_INSTRUMENTS:
        faults.append(Fault("too_many_labels", f"{len(item.constant_labels)} constant labels, at most 32 are taken"))
    for name, value in item.constant_labels.items():
        if not _is_name(name, MAX_FIELD_NAME) or len(value.encode()) > MAX_TEXT_BYTES:
            faults.append(Fault("bad_constant_label", f"{name[:80]!r}: must be {NAME.pattern}, 1 to 64 characters"))
        if name in item.labels:
            faults.append(Fault("duplicate_label", f"{name!r} is a label and a constant label"))
    return faults


def _bounds_faults(item: pb.Instrument) -> list[Fault]:
    bounds = item.bounds
    if bounds and item.kind != pb.INSTRUMENT_KIND_HISTOGRAM:
        return [Fault("bad_bounds", "only a histogram has bounds")]
    if len(bounds) > MAX_BOUNDS:
        return [Fault("bad_bounds", f"{len(bounds)} bounds, at most {MAX_BOUNDS} are taken")]
    if not all(map(math.isfinite, bounds)) or not is_ascending(bounds):
        return [Fault("bad_bounds", "bounds must be finite and strictly ascending")]
    return []


def _agreement_faults(instruments: Iterable[pb.Instrument]) -> list[Fault]:
    """Instruments of one name agree in kind, unit and bounds, within the definition too."""
    seen: dict[str, tuple[int, str, tuple[float, ...]]] = {}
    return [
        Fault("definition_conflict", f"instrument {item.name!r} stands twice and differs in kind, unit or bounds")
        for item in instruments
        if seen.setdefault(item.name, (item.kind, item.unit, tuple(item.bounds)))
        != (item.kind, item.unit, tuple(item.bounds))
    ]


def _log_faults(define: pb.Define) -> list[Fault]:
    log = define.log
    faults = []
    if not 0 <= log.severity <= MAX_SEVERITY:
        faults.append(Fault("bad_severity", f"severity is {log.severity}, must be 1 to {MAX_SEVERITY}"))
    labels = {item.name for item in define.fields if item.role == pb.FIELD_ROLE_LABEL}
    if log.severity_field and log.severity_field not in labels:
        faults.append(Fault("unknown_label", f"severity_field {log.severity_field[:80]!r} is not a label field"))
    if len(log.body.encode()) > MAX_TEXT_BYTES:
        faults.append(Fault("text_too_long", f"body takes {MAX_TEXT_BYTES} bytes"))
    return faults
