"""Definition checks: every fault of an event type's definition at once, so that its author mends all in one go."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from pod_runtime.reserved_metrics import RESERVED, is_reserved
from sidecar.ingest.validate import FIELD_TYPES, MAX_EVENT_ID, MAX_TEXT_BYTES, NAME, ContractFault, Rule, is_ascending
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
_PRESET_KINDS = frozenset({pb.INSTRUMENT_KIND_COUNTER, pb.INSTRUMENT_KIND_HISTOGRAM})
_KINDS = _PRESET_KINDS | {pb.INSTRUMENT_KIND_UP_DOWN_COUNTER, pb.INSTRUMENT_KIND_GAUGE}


def check_define(define: pb.Define, settings: TelemetrySettings) -> list[ContractFault]:
    """Every rule that a definition breaks; empty if it is valid."""
    rules = [*_event_rules(define, settings), *_field_rules(define.fields)]
    for item in define.instruments:
        own = _instrument_rules(item, define)
        rules += [(broken, reason, f"{item.name!r}: {message}") for broken, reason, message in own]
    rules += [*_agreement_rules(define.instruments), *_log_rules(define)]
    return [ContractFault(reason, message) for broken, reason, message in rules if broken]


def _event_rules(define: pb.Define, settings: TelemetrySettings) -> Iterator[Rule]:
    number, fields, instruments = define.event_id, len(define.fields), len(define.instruments)
    name = f"event name {define.name[:80]!r}: must be {NAME.pattern}, 1 to 128 characters"
    yield not 1 <= number <= MAX_EVENT_ID, "bad_event_id", f"event_id is {number}, must be 1 to {MAX_EVENT_ID}"
    yield not _is_name(define.name, MAX_NAME), "bad_name", name
    most = settings.max_fields
    yield fields > most, "too_many_fields", f"{fields} fields, at most {most} are accepted"
    text = f"{instruments} instruments, at most 32 are accepted"
    yield instruments > MAX_INSTRUMENTS, "too_many_instruments", text


def _is_name(text: str, longest: int) -> bool:
    return len(text) <= longest and NAME.fullmatch(text) is not None


def _field_rules(fields: Iterable[pb.Field]) -> Iterator[Rule]:
    seen = set()
    for item in fields:
        name = f"field {item.name[:80]!r}"
        rule = f"{name}: must be {NAME.pattern}, 1 to 64 characters"
        yield not _is_name(item.name, MAX_FIELD_NAME), "bad_field_name", rule
        yield item.name in seen, "duplicate_field", f"{name} is declared twice"
        seen.add(item.name)
        yield item.type not in FIELD_TYPES, "bad_field_type", f"{name}: type {item.type} is not known"
        yield item.role not in _ROLES, "bad_field_role", f"{name}: role {item.role} is not known"
        text_measure = item.role == pb.FIELD_ROLE_MEASURE and item.type not in _NUMBERS
        yield text_measure, "measure_not_number", f"{name}: a measure is DOUBLE or INT64"


def _instrument_rules(item: pb.Instrument, define: pb.Define) -> Iterator[Rule]:
    labels = {each.name for each in define.fields if each.role == pb.FIELD_ROLE_LABEL}
    measures = {each.name for each in define.fields if each.role == pb.FIELD_ROLE_MEASURE}
    rule = f"name must be {NAME.pattern}, 1 to 128 characters"
    yield not _is_name(item.name, MAX_NAME), "bad_instrument_name", rule
    yield is_reserved(item.name), "reserved_name", f"{RESERVED} are names of Prometheus and of the sidecar"
    yield item.kind not in _KINDS, "bad_instrument_kind", f"kind {item.kind} is not known"
    long = len(item.unit) > MAX_FIELD_NAME or len(item.description.encode()) > MAX_TEXT_BYTES
    yield long, "text_too_long", "unit has at most 64 characters, description 4096 bytes"
    unknown = f"{item.measure[:80]!r} is not a measure field of the event"
    yield bool(item.measure) and item.measure not in measures, "unknown_measure", unknown
    needed = "only a counter records 1 for each event: name a measure field"
    without = not item.measure and (item.kind != pb.INSTRUMENT_KIND_COUNTER or item.absent_ends)
    yield without, "measure_required", needed
    for name in (*item.labels, *item.only_when):
        yield name not in labels, "unknown_label", f"{name[:80]!r} is not a label field of the event"
    yield len(set(item.labels)) != len(item.labels), "duplicate_label", "a label is declared twice"
    constants = len(item.constant_labels)
    yield constants > MAX_INSTRUMENTS, "too_many_labels", f"{constants} constant labels, at most 32 are accepted"
    for name, value in item.constant_labels.items():
        bad = not _is_name(name, MAX_FIELD_NAME) or len(value.encode()) > MAX_TEXT_BYTES
        yield bad, "bad_constant_label", f"{name[:80]!r}: must be {NAME.pattern}, 1 to 64 characters"
        yield name in item.labels, "duplicate_label", f"{name!r} is a label and a constant label"
    yield from _first_broken(_bounds_rules(item))
    yield from _first_broken(_preset_rules(item))


def _first_broken(rules: Iterable[Rule]) -> list[Rule]:
    return next(([rule] for rule in rules if rule[0]), [])


def _bounds_rules(item: pb.Instrument) -> Iterator[Rule]:
    bounds = item.bounds
    misplaced = bool(bounds) and item.kind != pb.INSTRUMENT_KIND_HISTOGRAM
    yield misplaced, "bad_bounds", "only a histogram has bounds"
    yield len(bounds) > MAX_BOUNDS, "bad_bounds", f"{len(bounds)} bounds, at most {MAX_BOUNDS} are accepted"
    sound = all(map(math.isfinite, bounds)) and is_ascending(bounds)
    yield not sound, "bad_bounds", "bounds must be finite and strictly ascending"


def _preset_rules(item: pb.Instrument) -> Iterator[Rule]:
    presets, labels = len(item.presets), len(item.labels)
    # A gauge or an up-down counter belongs to a session: zero would be a value that nobody measured.
    misplaced = bool(presets) and item.kind not in _PRESET_KINDS
    yield misplaced, "preset_kind", "only counters and histograms begin at zero"
    yield presets > MAX_PRESETS, "too_many_presets", f"{presets} presets, at most {MAX_PRESETS} are accepted"
    for each in item.presets:
        yield len(each.values) != labels, "preset_length", f"{len(each.values)} values for {labels} labels"


def _agreement_rules(instruments: Iterable[pb.Instrument]) -> Iterator[Rule]:
    """Yield a rule for each instrument: it agrees with the others of its name within the definition."""
    seen: dict[str, tuple[int, str, tuple[float, ...]]] = {}
    for item in instruments:
        identity = (item.kind, item.unit, tuple(item.bounds))
        text = f"instrument {item.name!r} is declared twice and differs in kind, unit or bounds"
        yield seen.setdefault(item.name, identity) != identity, "definition_conflict", text


def _log_rules(define: pb.Define) -> Iterator[Rule]:
    # Without a template every part of it is empty, which breaks no rule.
    log = define.log
    labels = {"", *(item.name for item in define.fields if item.role == pb.FIELD_ROLE_LABEL)}
    severity = f"severity is {log.severity}, must be 1 to {MAX_SEVERITY}"
    yield not 0 <= log.severity <= MAX_SEVERITY, "bad_severity", severity
    unknown = f"severity_field {log.severity_field[:80]!r} is not a label field"
    yield log.severity_field not in labels, "unknown_label", unknown
    yield len(log.body.encode()) > MAX_TEXT_BYTES, "text_too_long", f"body has at most {MAX_TEXT_BYTES} bytes"
