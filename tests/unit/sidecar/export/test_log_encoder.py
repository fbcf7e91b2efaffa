from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs, SeverityNumber
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from sidecar.export.log_encoder import LogEncoder, record_id_prefix, request, resource_block, scope, unframed
from sidecar.telemetry.model import EventType, Field, JournalPosition, LogTemplate, Session, StoredBatch
from telemetry_contract.v1 import telemetry_pb2 as pb
from tests.unit.sidecar.fake_journal import ORDER, SESSION, orders

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
VALUES: dict[pb.FieldType.ValueType, st.SearchStrategy[Any]] = {
    pb.FIELD_TYPE_STRING: TEXT | st.sampled_from(["", "filled", "x" * 130, "é" * 70, "\0", "日本"]),
    pb.FIELD_TYPE_DOUBLE: st.floats(),
    pb.FIELD_TYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    pb.FIELD_TYPE_BOOL: st.booleans(),
}
SEVERITY_TEXT = {5: "DEBUG", 9: "INFO", 13: "WARN", 17: "ERROR", 21: "FATAL"}
SEVERITIES = {name.lower(): number for number, name in SEVERITY_TEXT.items()}


@st.composite
def event_types(draw: st.DrawFn, event_id: int) -> EventType:
    kinds = draw(st.lists(st.sampled_from(sorted(VALUES)), max_size=5))
    fields = [Field(name=f"f{at}", type=kind, role=pb.FIELD_ROLE_ATTRIBUTE) for at, kind in enumerate(kinds)]
    if draw(st.booleans()):
        fields.append(Field(name="severity", type=pb.FIELD_TYPE_STRING, role=pb.FIELD_ROLE_LABEL))
    template = LogTemplate(
        severity=draw(st.sampled_from([0, 1, 5, 9, 13, 17, 21])),
        severity_field=draw(st.sampled_from(["", "severity"])),
        body=draw(TEXT),
    )
    log = draw(st.sampled_from([template, template, template, None]))
    return EventType(event_id=event_id, name=f"e{event_id}", fields=tuple(fields), log=log)


@st.composite
def columns(draw: st.DrawFn, item: Field, count: int) -> tuple[pb.Column, list[Any]]:
    """A column and what each event has in it, None where it is absent."""
    choices: st.SearchStrategy[Any] = VALUES[item.type]
    if item.name == "severity":
        choices = st.sampled_from([*SEVERITIES, "INFO", "loud"])
    values: list[Any] = draw(st.lists(choices, min_size=count, max_size=count))
    absent = sorted(draw(st.sets(st.integers(0, count - 1), max_size=count)))
    column = pb.Column(absent=absent)
    if item.type == pb.FIELD_TYPE_STRING and draw(st.booleans()):
        distinct = list(dict.fromkeys(values))
        column.values.extend(distinct)
        column.indexes.extend(distinct.index(value) for value in values)
    elif item.type == pb.FIELD_TYPE_STRING:
        column.values.extend(values)
    elif item.type == pb.FIELD_TYPE_DOUBLE:
        column.doubles.extend(values)
    elif item.type == pb.FIELD_TYPE_INT64:
        column.integers.extend(values)
    else:
        column.booleans.extend(values)
    return column, [None if at in absent else value for at, value in enumerate(values)]


def any_value(value: Any) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    return AnyValue(double_value=value) if isinstance(value, float) else AnyValue(string_value=value)


def official(
    event_type: EventType, row: dict[str, Any], *, uid: str, time: int, observed: int, trace: tuple[bytes, bytes, int]
) -> bytes:
    """The record as the official classes make it, one field after the other."""
    assert event_type.log is not None
    template = event_type.log
    number = template.severity or 9
    if template.severity_field and template.severity_field in row:
        number = SEVERITIES.get((row[template.severity_field] or "").lower(), number)
    record = LogRecord(
        time_unix_nano=time,
        observed_time_unix_nano=observed,
        severity_number=SeverityNumber.ValueType(number),
        severity_text=SEVERITY_TEXT.get(number, ""),
        event_name=event_type.name,
    )
    if template.body:
        record.body.string_value = template.body
    present = {name: value for name, value in row.items() if value is not None}
    identified = {**present, "log.record.uid": uid, "elasticsearch.document_id": uid}
    record.attributes.extend(KeyValue(key=name, value=any_value(value)) for name, value in identified.items())
    trace_id, span_id, flags = trace
    record.flags = flags
    record.trace_id = trace_id if any(trace_id) else b""
    record.span_id = span_id if any(span_id) else b""
    return record.SerializeToString()


@st.composite
def batches(draw: st.DrawFn) -> tuple[StoredBatch, list[bytes]]:
    """A stored batch of up to three types, and its records as the official classes make them."""
    session = Session(producer_id=draw(st.sampled_from(["broker", "p" * 64])), session_id="s1")
    first, observed = draw(st.integers(1, 2**60)), draw(st.sampled_from([0, 10**18]))
    types = {number: draw(event_types(number)) for number in range(1, 4)}
    owners = draw(st.lists(st.sampled_from([1, 2, 3]), min_size=1, max_size=12))
    batch = pb.Batch(first_sequence=first, count=len(owners))
    wanted: dict[int, bytes] = {}
    for number in sorted(set(owners)):
        places = [place for place, owner in enumerate(owners) if owner == number]
        base = draw(st.sampled_from([0, 1, 10**18]))
        offsets = draw(st.lists(st.integers(-(10**9), 10**9), min_size=len(places), max_size=len(places)))
        group = batch.groups.add(event_id=number, count=len(places), base_time_unix_nano=base)
        group.time_offsets_nano.extend(offsets)
        if len(places) < len(owners):
            group.offsets.extend(places)
        rows: list[dict[str, Any]] = [{} for _ in places]
        for item in types[number].fields:
            column, values = draw(columns(item, len(places)))
            group.columns.append(column)
            for row, value in zip(rows, values, strict=True):
                row[item.name] = value
        traces = [(b"", b"", 0)] * len(places)
        if draw(st.booleans()):
            each = st.sampled_from([(bytes(16), bytes(8), 0), (b"t" * 16, b"s" * 8, 1), (b"t" * 16, bytes(8), 255)])
            traces = draw(st.lists(each, min_size=len(places), max_size=len(places)))
            group.trace.trace_ids = b"".join(trace for trace, _, _ in traces)
            group.trace.span_ids = b"".join(span for _, span, _ in traces)
            group.trace.flags = bytes(flags for _, _, flags in traces)
        if types[number].log is None:
            continue
        for place, row, offset, trace in zip(places, rows, offsets, traces, strict=True):
            uid = record_id_prefix(session.producer_id, session.session_id) + str(first + place)
            time = max(base + offset, 0)
            wanted[place] = official(types[number], row, uid=uid, time=time, observed=observed, trace=trace)
    stored = StoredBatch(end=JournalPosition(), session=session, batch=batch, types=types, received_ns=observed)
    return stored, [wanted[place] for place in sorted(wanted)]


@given(batches())
def test_spliced_records_are_the_official_classes_bytes(given_: tuple[StoredBatch, list[bytes]]) -> None:
    stored, wanted = given_
    assert [unframed(record) for record in LogEncoder().encode(stored)] == wanted


@given(st.dictionaries(TEXT.filter(bool), TEXT, max_size=4), st.lists(st.integers(1, 400), max_size=4))
def test_a_request_is_the_official_classes_bytes(resource: dict[str, str], sizes: list[int]) -> None:
    stored = [orders(1, size, end=1) for size in sizes]
    records = [LogEncoder().encode(each) for each in stored]
    made = request([(resource_block(resource), each) for each in records], scope("telemetry.v1", ""))
    attributes = [KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in resource.items()]
    wanted = ExportLogsServiceRequest(
        resource_logs=[
            ResourceLogs(
                resource=Resource(attributes=attributes),
                scope_logs=[
                    ScopeLogs(
                        scope=InstrumentationScope(name="telemetry.v1"),
                        log_records=[LogRecord.FromString(unframed(record)) for record in each],
                    )
                ],
            )
            for each in records
        ]
    )
    assert made == wanted.SerializeToString()


def test_nan_and_infinities_stay_what_they_are() -> None:
    stored = orders(1, 3, end=1)
    del stored.batch.groups[0].columns[2].doubles[:]
    stored.batch.groups[0].columns[2].doubles.extend([math.nan, math.inf, -math.inf])
    records = [LogRecord.FromString(unframed(record)) for record in LogEncoder().encode(stored)]
    values = [record.attributes[2].value.double_value for record in records]
    assert math.isnan(values[0])
    assert values[1:] == [math.inf, -math.inf]


def test_a_field_with_the_name_of_the_id_does_not_stand_beside_it() -> None:
    fields = (Field(name="log.record.uid", type=pb.FIELD_TYPE_STRING, role=pb.FIELD_ROLE_ATTRIBUTE), *ORDER.fields[1:])
    forged = EventType(event_id=1, name="forged", fields=fields, log=LogTemplate(severity=9))
    stored = orders(7, 1, end=1)
    batch = StoredBatch(end=stored.end, session=SESSION, batch=stored.batch, types={1: forged}, received_ns=1)
    [record] = [LogRecord.FromString(unframed(each)) for each in LogEncoder().encode(batch)]
    assert [item.value.string_value for item in record.attributes if item.key == "log.record.uid"] == ["broker/s1/7"]


@pytest.mark.parametrize(
    ("producer", "session", "prefix"),
    [
        ("broker", "0198c0de-aaaa-7bbb-8ccc-0123456789ab", "broker/0198c0de-aaaa-7bbb-8ccc-0123456789ab/"),
        ("p" * 64, "s", "0eda5619ef8bb49a40ceaba924bd453f/"),
    ],
)
def test_ids_stay_within_64_characters(producer: str, session: str, prefix: str) -> None:
    found = record_id_prefix(producer, session)
    assert found == prefix
    assert len(found + str(2**64 - 1)) <= 64


def test_types_of_two_streams_with_one_id_do_not_mix() -> None:
    other = EventType(event_id=1, name="other", fields=ORDER.fields, log=LogTemplate(severity=17, body="b"))
    encoder = LogEncoder()
    for event_type in (ORDER, other, ORDER):
        stored = orders(1, 1, end=1)
        batch = StoredBatch(end=stored.end, session=SESSION, batch=stored.batch, types={1: event_type}, received_ns=1)
        [record] = [LogRecord.FromString(unframed(each)) for each in encoder.encode(batch)]
        assert record.event_name == event_type.name
