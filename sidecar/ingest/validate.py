"""Validation of Hellos and batches against the contract.

Pure. Nothing here raises for a producer's message: a broken rule is a fault that names it. Checks run over whole
columns, so that an event costs almost nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import lt

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


def is_ascending(values: Sequence[float]) -> bool:
    """True if each value is greater than the one before."""
    return all(map(lt, values, values[1:]))


def check_hello(hello: pb.Hello) -> ContractFault | None:
    """First rule of the stream that a Hello breaks."""
    return next(_hello_faults(hello), None)


def _hello_faults(hello: pb.Hello) -> Iterator[ContractFault]:
    if hello.protocol_version != PROTOCOL_VERSION:
        version = f"version {hello.protocol_version} is not supported: this sidecar speaks version {PROTOCOL_VERSION}"
        yield ContractFault("protocol_version", version)
    if not PRODUCER_ID.fullmatch(hello.producer_id):
        yield ContractFault("producer_id", f"producer_id must be {PRODUCER_ID.pattern}")
    if not SESSION_ID.fullmatch(hello.session_id):
        yield ContractFault("session_id", f"session_id must be {SESSION_ID.pattern}")
    if not 1 <= hello.first_sequence < MAX_SEQUENCE:
        yield ContractFault("first_sequence", f"first_sequence is {hello.first_sequence}, must be at least 1")
    if len(hello.resource) > MAX_RESOURCE:
        yield ContractFault(
            "resource", f"resource has {len(hello.resource)} attributes, at most {MAX_RESOURCE} are accepted"
        )
    for key, text in hello.resource.items():
        if not 1 <= len(key.encode()) <= MAX_RESOURCE_KEY or len(text.encode()) > MAX_TEXT_BYTES:
            yield ContractFault(
                "resource", f"a resource key has 1 to {MAX_RESOURCE_KEY} bytes, its value at most {MAX_TEXT_BYTES}"
            )


def check_batch(batch: pb.Batch, settings: TelemetrySettings) -> ContractFault | None:
    """Rule of the stream that a batch's own numbers break; `check_cover` and `check_group` look at its groups."""
    if not 1 <= batch.first_sequence < MAX_SEQUENCE:
        return ContractFault("first_sequence", f"first_sequence is {batch.first_sequence}, must be at least 1")
    if not 1 <= batch.count <= settings.max_batch_events:
        return ContractFault(
            "batch_events", f"a batch has {batch.count} events, must be 1 to {settings.max_batch_events}"
        )
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
        return ContractFault(
            "column_count", f"{len(columns)} columns for the {len(kind.fields)} fields of {kind.name}"
        )
    for column, field in zip(columns, kind.fields, strict=True):
        fault = _COLUMN_KINDS[field.type](column, count) or _absent_fault(column, count)
        if fault is not None:
            return ContractFault(fault.reason, f"{kind.name}.{field.name}: {fault.message}")
    return _trace_fault(group, count) if group.HasField("trace") else None


def _string_fault(column: pb.Column, count: int) -> ContractFault | None:
    if column.doubles or column.integers or column.booleans:
        return ContractFault("column_kind", "a STRING column fills values and indexes only")
    if not column.indexes:
        return _length_fault(len(column.values), count)
    # A slice is a list: walking the container itself costs three times as much.
    indexes = column.indexes[:]
    if len(indexes) == count and max(indexes) >= len(column.values):
        return ContractFault("index_range", f"index {max(indexes)} in a dictionary of {len(column.values)}")
    return _length_fault(len(indexes), count)


def _double_fault(column: pb.Column, count: int) -> ContractFault | None:
    if column.values or column.indexes or column.integers or column.booleans:
        return ContractFault("column_kind", "a DOUBLE column fills doubles only")
    return _length_fault(len(column.doubles), count)


def _integer_fault(column: pb.Column, count: int) -> ContractFault | None:
    if column.values or column.indexes or column.doubles or column.booleans:
        return ContractFault("column_kind", "an INT64 column fills integers only")
    return _length_fault(len(column.integers), count)


def _boolean_fault(column: pb.Column, count: int) -> ContractFault | None:
    if column.values or column.indexes or column.doubles or column.integers:
        return ContractFault("column_kind", "a BOOL column fills booleans only")
    return _length_fault(len(column.booleans), count)


def _length_fault(length: int, count: int) -> ContractFault | None:
    return None if length == count else ContractFault("column_length", f"{length} values for {count} events")


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


_COLUMN_KINDS: Mapping[int, Callable[[pb.Column, int], ContractFault | None]] = {
    pb.FIELD_TYPE_STRING: _string_fault,
    pb.FIELD_TYPE_DOUBLE: _double_fault,
    pb.FIELD_TYPE_INT64: _integer_fault,
    pb.FIELD_TYPE_BOOL: _boolean_fault,
}

FIELD_TYPES = frozenset(_COLUMN_KINDS)
