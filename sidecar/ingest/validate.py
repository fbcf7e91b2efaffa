"""Validation of Hellos and batches against the contract.

Pure. Nothing here raises for a producer's message: a broken rule is a fault that names it. Checks run over whole
columns, so that an event costs almost nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter, lt
from typing import Any

from sidecar.metrics.columns import SPAN_ID_BYTES, TRACE_ID_BYTES
from sidecar.telemetry.model import EventType
from sidecar.telemetry.settings import TelemetrySettings
from telemetry_contract.v1 import telemetry_pb2 as pb

NAME = re.compile(r"[a-z][a-z0-9_.]*")
PRODUCER_ID = re.compile(r"[a-z0-9._-]{1,64}")
SESSION_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
MAX_EVENT_ID = 65_535
MAX_GROUPS = 1024
MAX_TEXT_BYTES = 4096
MAX_SEQUENCE = 1 << 62
"""Far below 64 bits, so that no sum of a sequence and a count leaves them."""
MAX_RESOURCE = 64
MAX_RESOURCE_KEY = 256
PROTOCOL_VERSION = 1
MAX_TIME_NS = 1 << 63
"""The year 2262: OTLP has 64 unsigned bits, most readers have a signed integer."""


@dataclass(frozen=True, slots=True)
class ContractFault:
    """A rule that a message breaks: a constant reason and a sentence for people."""

    reason: str
    message: str


Rule = tuple[bool, str, str]
"""A rule as applied to one message: true if the message breaks it, the constant reason, a sentence for people."""


def is_ascending(values: Sequence[float]) -> bool:
    """True if each value is greater than the one before."""
    return all(map(lt, values, values[1:]))


def check_hello(hello: pb.Hello) -> ContractFault | None:
    """First rule of the stream that a Hello breaks."""
    return next((ContractFault(reason, message) for broken, reason, message in _hello_rules(hello) if broken), None)


def _hello_rules(hello: pb.Hello) -> Iterator[Rule]:
    version, first, size = hello.protocol_version, hello.first_sequence, len(hello.resource)
    text = f"version {version} is not supported: this sidecar speaks version {PROTOCOL_VERSION}"
    yield version != PROTOCOL_VERSION, "protocol_version", text
    yield not PRODUCER_ID.fullmatch(hello.producer_id), "producer_id", f"producer_id must be {PRODUCER_ID.pattern}"
    yield not SESSION_ID.fullmatch(hello.session_id), "session_id", f"session_id must be {SESSION_ID.pattern}"
    yield not 1 <= first < MAX_SEQUENCE, "first_sequence", f"first_sequence is {first}, must be at least 1"
    yield size > MAX_RESOURCE, "resource", f"resource has {size} attributes, at most {MAX_RESOURCE} are accepted"
    text = f"a resource key has 1 to {MAX_RESOURCE_KEY} bytes, its value at most {MAX_TEXT_BYTES}"
    for key, value in hello.resource.items():
        bad = not 1 <= len(key.encode()) <= MAX_RESOURCE_KEY or len(value.encode()) > MAX_TEXT_BYTES
        yield bad, "resource", text


def check_batch(batch: pb.Batch, settings: TelemetrySettings) -> ContractFault | None:
    """Rule of the stream that a batch's own numbers break; `check_cover` and `check_group` look at its groups."""
    if not 1 <= batch.first_sequence < MAX_SEQUENCE:
        return ContractFault("first_sequence", f"first_sequence is {batch.first_sequence}, must be at least 1")
    if not 1 <= batch.count <= settings.max_batch_events:
        text = f"a batch has {batch.count} events, must be 1 to {settings.max_batch_events}"
        return ContractFault("batch_events", text)
    return None


def check_cover(batch: pb.Batch) -> ContractFault | None:
    """Fault if the groups do not name each event of the batch exactly once."""
    groups = batch.groups
    if len(groups) > MAX_GROUPS:
        return ContractFault("too_many_groups", f"{len(groups)} groups, one for each type that occurs is enough")
    if len(groups) == 1 and not groups[0].offsets:
        if groups[0].count != batch.count:
            return ContractFault("count_mismatch", f"the batch has {batch.count} events, its group {groups[0].count}")
        return None
    return _offsets_fault(batch)


def _offsets_fault(batch: pb.Batch) -> ContractFault | None:
    # As slices and one set: walking the containers event by event costs more than the rest of the validation.
    places: list[int] = []
    for group in batch.groups:
        # A slice is a list: the container itself is slower at each access.
        offsets = group.offsets[:]
        if len(offsets) != group.count:
            return ContractFault("offset_length", f"{len(offsets)} offsets for {group.count} events")
        if not is_ascending(offsets):
            return ContractFault("offset_order", "offsets must be strictly ascending")
        places += offsets
    if len(places) != batch.count or len(set(places)) != batch.count or max(places) >= batch.count:
        return ContractFault("offset_cover", f"offsets must name each of the batch's {batch.count} events once")
    return None


def check_group(group: pb.Group, kind: EventType) -> ContractFault | None:
    """Rule of the data that a group breaks; `check_cover` checks its place in the batch."""
    count = group.count
    offsets = group.time_offsets_nano[:]
    if count < 1 or len(offsets) != count:
        return ContractFault("time_length", f"{len(offsets)} times for {count} events of {kind.name}")
    if group.base_time_unix_nano + min(offsets) < 0 or group.base_time_unix_nano + max(offsets) >= MAX_TIME_NS:
        return ContractFault("time_range", f"a time of {kind.name} is outside 1970 to 2262")
    columns = group.columns
    if len(columns) != len(kind.fields):
        text = f"{len(columns)} columns for the {len(kind.fields)} fields of {kind.name}"
        return ContractFault("column_count", text)
    for column, field in zip(columns, kind.fields, strict=True):
        fault = _column_fault(column, field.type, count) or _absent_fault(column, count)
        if fault is not None:
            return ContractFault(fault.reason, f"{kind.name}.{field.name}: {fault.message}")
    return _trace_fault(group, count) if group.HasField("trace") else None


def _column_fault(column: pb.Column, kind: pb.FieldType.ValueType, count: int) -> ContractFault | None:
    text, values_of, others_of = _COLUMN_KINDS[kind]
    if any(others_of(column)):
        return ContractFault("column_kind", text)
    values = values_of(column)
    if kind == pb.FIELD_TYPE_STRING and column.indexes:
        # A slice is a list: walking the container itself costs three times as much.
        indexes = column.indexes[:]
        if len(indexes) == count and max(indexes) >= len(values):
            return ContractFault("index_range", f"index {max(indexes)} in a dictionary of {len(values)}")
        values = indexes
    if len(values) != count:
        return ContractFault("column_length", f"{len(values)} values for {count} events")
    return None


def _absent_fault(column: pb.Column, count: int) -> ContractFault | None:
    absent = column.absent
    # In ascending order the last is the greatest.
    if absent and (len(absent) > count or absent[-1] >= count or not is_ascending(absent[:])):
        return ContractFault("absent_range", f"absent places must be strictly ascending and below {count}")
    return None


def _trace_fault(group: pb.Group, count: int) -> ContractFault | None:
    trace = group.trace
    wanted = (TRACE_ID_BYTES * count, SPAN_ID_BYTES * count, count)
    found = (len(trace.trace_ids), len(trace.span_ids), len(trace.flags))
    if found != wanted:
        return ContractFault("trace_length", f"trace column of {found} bytes, wanted {wanted}")
    return None


def cut_strings(group: pb.Group, longest_bytes: int) -> int:
    """Cut string values longer than `longest_bytes` in UTF-8; return how many."""
    cut = 0
    for column in group.columns:
        values = column.values
        # Most columns are short, which a bound on their size shows without encoding each text (UTF-8 takes at most
        # four bytes a character, RFC 3629).
        if not values or column.ByteSize() <= longest_bytes or max(map(len, values)) * 4 <= longest_bytes:
            continue
        for place, text in enumerate(values):
            encoded = text.encode()
            if len(encoded) > longest_bytes:
                # `ignore` drops the bytes of a character that the cut went through.
                values[place] = encoded[:longest_bytes].decode(errors="ignore")
                cut += 1
    return cut


def _filled(text: str, *parts: str) -> tuple[str, attrgetter[Any], attrgetter[Any]]:
    empty = {"values", "indexes", "doubles", "integers", "booleans"}.difference(parts)
    return text, attrgetter(parts[0]), attrgetter(*empty)


_COLUMN_KINDS = {
    pb.FIELD_TYPE_STRING: _filled("a STRING column fills values and indexes only", "values", "indexes"),
    pb.FIELD_TYPE_DOUBLE: _filled("a DOUBLE column fills doubles only", "doubles"),
    pb.FIELD_TYPE_INT64: _filled("an INT64 column fills integers only", "integers"),
    pb.FIELD_TYPE_BOOL: _filled("a BOOL column fills booleans only", "booleans"),
}
"""For each type of a field: the rule in words, the values of its column, the parts that stay empty."""

FIELD_TYPES = frozenset(_COLUMN_KINDS)
