from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.spool.format import Row
from producer.stream.columns import encode_batch, event_schemas
from telemetry_contract.v1 import telemetry_pb2 as pb
from tests.unit.producer.samples import SHOP, START_NS

KINDS = event_schemas(SHOP.defines({}))
TYPES = {1: "sdibsd", 2: "s"}

texts = st.text(st.characters(codec="utf-8"), max_size=8)
doubles = st.floats(allow_nan=False)
traces = st.none() | st.binary(min_size=25, max_size=25).filter(any)
times = st.integers(0, 1 << 62)
sales = st.tuples(
    st.just(1),
    times,
    traces,
    texts,
    doubles,
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.booleans(),
    st.none() | texts,
    st.none() | doubles,
)
chatter = st.tuples(st.just(2), times, traces, texts)


def filled(rows: list[Row], first: int = 1) -> tuple[pb.Batch, Counter[tuple[str, str]]]:
    coerced = Counter[tuple[str, str]]()
    return pb.Batch.FromString(encode_batch(first, rows, KINDS, coerced)), coerced


def read(batch: pb.Batch) -> list[Row]:
    """The rows that a batch says, by the words of the contract."""
    rows: dict[int, Row] = {}
    for group in batch.groups:
        columns = [_values(column, kind) for column, kind in zip(group.columns, TYPES[group.event_id], strict=True)]
        for place in range(group.count):
            time_ns = group.base_time_unix_nano + group.time_offsets_nano[place]
            trace = None
            if group.HasField("trace"):
                part = group.trace
                trace = part.trace_ids[16 * place :][:16] + part.span_ids[8 * place :][:8] + part.flags[place:][:1]
            offset = group.offsets[place] if group.offsets else place
            fields = (column[place] for column in columns)
            rows[offset] = (group.event_id, time_ns, trace if trace and any(trace) else None, *fields)
    return [rows[place] for place in range(batch.count)]


def _values(column: pb.Column, kind: str) -> list[Any]:
    values: list[Any]
    if kind == "s":
        values = [column.values[index] for index in column.indexes] or list(column.values)
    else:
        values = list({"d": column.doubles, "i": column.integers, "b": column.booleans}[kind])  # type: ignore[call-overload] # one of three
    for place in column.absent:
        values[place] = None
    return values


@given(st.lists(sales | chatter, min_size=1, max_size=40))
def test_a_batch_says_its_rows(rows: list[Row]) -> None:
    batch, coerced = filled(rows)
    assert read(batch) == rows
    assert not coerced


@given(st.lists(st.text(st.sampled_from("aé€\0"), max_size=140), min_size=1, max_size=200))
def test_texts_of_any_length_and_number_are_read_as_they_were(said: list[str]) -> None:
    batch, coerced = filled([(2, START_NS, None, text) for text in said])
    assert [row[3] for row in read(batch)] == said
    assert not coerced


@pytest.mark.parametrize("distinct", [128, 129, 300])
def test_a_dictionary_of_more_texts_than_a_byte_counts_is_read_as_it_was(distinct: int) -> None:
    said = ["same"] * 16 + [f"text {number:04d}" for number in range(distinct)] + ["same"]
    batch, _ = filled([(2, START_NS, None, text) for text in said])
    assert list(batch.groups[0].columns[0].indexes)
    assert [row[3] for row in read(batch)] == said


def test_a_column_without_any_value_is_absent_throughout() -> None:
    batch, coerced = filled([(1, START_NS, None, "a", 1.0, 1, True, None, None)] * 3)
    assert list(batch.groups[0].columns[4].absent) == [0, 1, 2]
    assert [row[7] for row in read(batch)] == [None, None, None]
    assert not coerced


def test_a_batch_of_one_type_has_no_offsets() -> None:
    batch, _ = filled([(2, START_NS, None, "a"), (2, START_NS + 5, None, "b")], first=7)
    assert (batch.first_sequence, batch.count) == (7, 2)
    assert list(batch.groups[0].offsets) == []
    assert list(batch.groups[0].time_offsets_nano) == [0, 5]


def test_few_distinct_texts_are_coded_by_a_dictionary() -> None:
    batch, _ = filled([(2, START_NS, None, "ab"[place % 2]) for place in range(6)])
    column = batch.groups[0].columns[0]
    assert list(column.values) == ["a", "b"]
    assert list(column.indexes) == [0, 1, 0, 1, 0, 1]


def test_a_value_that_does_not_fit_is_left_out_and_counted() -> None:
    row: Row = (1, START_NS, None, "north", "dear", 1, True, None, None)
    good: Row = (1, START_NS, None, "south", 1.5, 2, False, "x", 0.5)
    batch, coerced = filled([row, good])
    assert read(batch) == [(*row[:4], None, *row[5:]), good]
    assert coerced == {("shop.sale", "wrong_type"): 1}


def test_values_become_the_nearest_that_fits() -> None:
    row: Row = (1, START_NS, None, 5, 2, 3.0, True, "\ud800", 10**400)
    batch, coerced = filled([row])
    assert read(batch) == [(1, START_NS, None, "5", 2.0, 3, True, "?", None)]
    assert coerced["shop.sale", "wrong_type"] == 3


def test_a_number_beyond_64_bits_is_left_out() -> None:
    batch, _ = filled([(1, START_NS, None, "a", math.inf, 1 << 63, True, None, None)])
    assert read(batch) == [(1, START_NS, None, "a", math.inf, None, True, None, None)]


def test_a_row_of_another_length_is_cut_or_filled() -> None:
    batch, coerced = filled([(2, START_NS, None, "a", "extra"), (2, START_NS, None)])
    assert read(batch) == [(2, START_NS, None, "a"), (2, START_NS, None, None)]
    assert coerced == {("shop.chatter", "wrong_arity"): 2}


def test_rows_of_an_unknown_type_keep_their_places_for_the_sidecar_to_refuse() -> None:
    batch, _ = filled([(2, START_NS, None, "a"), (99, START_NS, None, "b")])
    assert [(group.event_id, group.count, list(group.offsets)) for group in batch.groups] == [(2, 1, [0]), (99, 1, [1])]
