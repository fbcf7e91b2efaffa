"""Definition checks: every fault of an event type's definition at once, so that its author mends all in one go."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from sidecar.ingest.validate import FIELD_TYPES, MAX_EVENT_ID, MAX_TEXT_BYTES, NAME, ContractFault, is_ascending
from sidecar.telemetry.settings import TelemetrySettings
from telemetry_contract.v1 import telemetry_pb2 as pb

MAX_NAME = 128
MAX_FIELD_NAME = 64
MAX_INSTRUMENTS = 32
MAX_PRESETS = 256
MAX_BOUNDS = 64
MAX_SEVERITY = 24
"""FATAL4 of OpenTelemetry's logs data model."""

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


def check_define(define: pb.Define, settings: TelemetrySettings) -> list[ContractFault]:
    """Every rule that a definition breaks; empty if it is valid."""
    faults = [*_event_faults(define, settings), *_field_faults(define.fields)]
    for item in define.instruments:
        faults += [
            ContractFault(fault.reason, f"{item.name!r}: {fault.message}")
            for fault in _instrument_faults(item, define)
        ]
    return [*faults, *_agreement_faults(define.instruments), *_log_faults(define)]


def _event_faults(define: pb.Define, settings: TelemetrySettings) -> Iterator[ContractFault]:
    if not 1 <= define.event_id <= MAX_EVENT_ID:
        yield ContractFault("bad_event_id", f"event_id is {define.event_id}, must be 1 to {MAX_EVENT_ID}")
    if not _is_name(define.name, MAX_NAME):
        text = f"event name {define.name[:80]!r}: must be {NAME.pattern}, 1 to 128 characters"
        yield ContractFault("bad_name", text)
    if len(define.fields) > settings.max_fields:
        text = f"{len(define.fields)} fields, at most {settings.max_fields} are accepted"
        yield ContractFault("too_many_fields", text)
    if len(define.instruments) > MAX_INSTRUMENTS:
        text = f"{len(define.instruments)} instruments, at most 32 are accepted"
        yield ContractFault("too_many_instruments", text)


def _is_name(text: str, longest: int) -> bool:
    return len(text) <= longest and NAME.fullmatch(text) is not None


def _field_faults(fields: Iterable[pb.Field]) -> Iterator[ContractFault]:
    seen = set()
    for item in fields:
        name = f"field {item.name[:80]!r}"
        if not _is_name(item.name, MAX_FIELD_NAME):
            yield ContractFault("bad_field_name", f"{name}: must be {NAME.pattern}, 1 to 64 characters")
        if item.name in seen:
            yield ContractFault("duplicate_field", f"{name} is declared twice")
        seen.add(item.name)
        if item.type not in FIELD_TYPES:
            yield ContractFault("bad_field_type", f"{name}: type {item.type} is not known")
        if item.role not in _ROLES:
            yield ContractFault("bad_field_role", f"{name}: role {item.role} is not known")
        elif item.role == pb.FIELD_ROLE_MEASURE and item.type not in _NUMBERS:
            yield ContractFault("measure_not_number", f"{name}: a measure is DOUBLE or INT64")


def _instrument_faults(item: pb.Instrument, define: pb.Define) -> Iterator[ContractFault]:
    labels = {each.name for each in define.fields if each.role == pb.FIELD_ROLE_LABEL}
    measures = {each.name for each in define.fields if each.role == pb.FIELD_ROLE_MEASURE}
    if not _is_name(item.name, MAX_NAME):
        yield ContractFault("bad_instrument_name", f"name must be {NAME.pattern}, 1 to 128 characters")
    if item.kind not in _KINDS:
        yield ContractFault("bad_instrument_kind", f"kind {item.kind} is not known")
    if len(item.unit) > MAX_FIELD_NAME or len(item.description.encode()) > MAX_TEXT_BYTES:
        yield ContractFault("text_too_long", "unit has at most 64 characters, description 4096 bytes")
    if item.measure and item.measure not in measures:
        yield ContractFault("unknown_measure", f"{item.measure[:80]!r} is not a measure field of the event")
    if not item.measure and item.kind != pb.INSTRUMENT_KIND_COUNTER:
        yield ContractFault("measure_required", "only a counter records 1 for each event: name a measure field")
    for name in (*item.labels, *item.only_when):
        if name not in labels:
            yield ContractFault("unknown_label", f"{name[:80]!r} is not a label field of the event")
    if len(set(item.labels)) != len(item.labels):
        yield ContractFault("duplicate_label", "a label is declared twice")
    yield from _constant_faults(item)
    yield from _bounds_faults(item)
    yield from _preset_faults(item)


def _constant_faults(item: pb.Instrument) -> Iterator[ContractFault]:
    if len(item.constant_labels) > MAX_INSTRUMENTS:
        text = f"{len(item.constant_labels)} constant labels, at most 32 are accepted"
        yield ContractFault("too_many_labels", text)
    for name, value in item.constant_labels.items():
        if not _is_name(name, MAX_FIELD_NAME) or len(value.encode()) > MAX_TEXT_BYTES:
            yield ContractFault("bad_constant_label", f"{name[:80]!r}: must be {NAME.pattern}, 1 to 64 characters")
        if name in item.labels:
            yield ContractFault("duplicate_label", f"{name!r} is a label and a constant label")


def _bounds_faults(item: pb.Instrument) -> Iterator[ContractFault]:
    bounds = item.bounds
    if bounds and item.kind != pb.INSTRUMENT_KIND_HISTOGRAM:
        yield ContractFault("bad_bounds", "only a histogram has bounds")
    elif len(bounds) > MAX_BOUNDS:
        yield ContractFault("bad_bounds", f"{len(bounds)} bounds, at most {MAX_BOUNDS} are accepted")
    elif not all(map(math.isfinite, bounds)) or not is_ascending(bounds):
        yield ContractFault("bad_bounds", "bounds must be finite and strictly ascending")


def _preset_faults(item: pb.Instrument) -> Iterator[ContractFault]:
    wrong = [each for each in item.presets if len(each.values) != len(item.labels)]
    # A gauge or an up-down counter belongs to a session: zero would be a value that nobody measured.
    if item.presets and item.kind not in (pb.INSTRUMENT_KIND_COUNTER, pb.INSTRUMENT_KIND_HISTOGRAM):
        yield ContractFault("preset_kind", "only counters and histograms begin at zero")
    elif len(item.presets) > MAX_PRESETS:
        yield ContractFault("too_many_presets", f"{len(item.presets)} presets, at most {MAX_PRESETS} are accepted")
    elif wrong:
        yield ContractFault("preset_length", f"{len(wrong[0].values)} values for {len(item.labels)} labels")


def _agreement_faults(instruments: Iterable[pb.Instrument]) -> Iterator[ContractFault]:
    """Yield a fault for each instrument that differs from one of its name within the definition."""
    seen: dict[str, tuple[int, str, tuple[float, ...]]] = {}
    for item in instruments:
        identity = (item.kind, item.unit, tuple(item.bounds))
        if seen.setdefault(item.name, identity) != identity:
            text = f"instrument {item.name!r} is declared twice and differs in kind, unit or bounds"
            yield ContractFault("definition_conflict", text)


def _log_faults(define: pb.Define) -> Iterator[ContractFault]:
    if not define.HasField("log"):
        return
    log = define.log
    if not 0 <= log.severity <= MAX_SEVERITY:
        yield ContractFault("bad_severity", f"severity is {log.severity}, must be 1 to {MAX_SEVERITY}")
    labels = {item.name for item in define.fields if item.role == pb.FIELD_ROLE_LABEL}
    if log.severity_field and log.severity_field not in labels:
        text = f"severity_field {log.severity_field[:80]!r} is not a label field"
        yield ContractFault("unknown_label", text)
    if len(log.body.encode()) > MAX_TEXT_BYTES:
        yield ContractFault("text_too_long", f"body has at most {MAX_TEXT_BYTES} bytes")
