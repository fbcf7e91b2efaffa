"""A batch without its first events: those that were taken before."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.ingest.validate import SPAN_ID_BYTES, TRACE_ID_BYTES
from telemetry_contract.v1 import telemetry_pb2 as pb


def trimmed(batch: pb.Batch, taken: int) -> pb.Batch:
    """The events of a sound batch from place `taken` on; groups without one are gone."""
    if not taken:
        return batch
    groups = [_group(group, taken) for group in batch.groups]
    return pb.Batch(
        first_sequence=batch.first_sequence + taken,
        count=batch.count - taken,
        groups=[group for group in groups if group.count],
    )


def _group(group: pb.Group, taken: int) -> pb.Group:
    offsets = group.offsets
    cut = sum(place < taken for place in offsets) if offsets else taken
    kept = pb.Group(
        event_id=group.event_id,
        count=group.count - cut,
        offsets=[place - taken for place in offsets[cut:]],
        base_time_unix_nano=group.base_time_unix_nano,
        time_offsets_nano=group.time_offsets_nano[cut:],
        columns=[_column(column, cut) for column in group.columns],
    )
    if group.HasField("trace"):
        trace = group.trace
        kept.trace.trace_ids = trace.trace_ids[cut * TRACE_ID_BYTES :]
        kept.trace.span_ids = trace.span_ids[cut * SPAN_ID_BYTES :]
        kept.trace.flags = trace.flags[cut:]
    return kept


def _column(column: pb.Column, cut: int) -> pb.Column:
    dictionary = bool(column.indexes)
    return pb.Column(
        values=column.values[:] if dictionary else column.values[cut:],
        indexes=column.indexes[cut:],
        doubles=column.doubles[cut:],
        integers=column.integers[cut:],
        booleans=column.booleans[cut:],
        absent=_absent(column.absent, cut),
    )


def _absent(absent: Sequence[int], cut: int) -> list[int]:
    return [place - cut for place in absent if place >= cut]
