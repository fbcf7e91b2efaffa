from __future__ import annotations

import asyncio

import grpc
import pytest

from sidecar.export.base import BASE_FILE, read_base, write_base
from sidecar.export.metric_encoder import difference
from sidecar.telemetry.model import Number, Snapshot
from tests.otlp_receiver import Fault, OtlpReceiver
from tests.unit.sidecar.export.test_exporter import counted, drained, exporter, running, settings
from tests.unit.sidecar.fake_journal import MemoryJournal
from tests.unit.sidecar.snapshots import counter, gauge, histogram, snapshot


def test_a_base_that_was_written_makes_the_same_differences() -> None:
    earlier = snapshot(p=[counter(value=5), histogram(buckets=(1, 1, 1)), gauge("g", 4)])
    later = snapshot(p=[counter(value=2**60), histogram(buckets=(1, 4, 1)), gauge("g", 3)])
    kept = read_base(write_base(earlier))
    assert kept is not None
    assert values(difference(later, kept)) == values(difference(later, earlier))


def values(it: Snapshot) -> list[object]:
    """Points without exemplars: a base has none, so that the first difference shows one again."""
    points = (point for family in it.producers[0].families for point in family.points)
    return [
        point._replace(exemplar=None) if isinstance(point, Number) else point._replace(exemplars=()) for point in points
    ]


@pytest.mark.parametrize("data", [b"", b"{", b"[2,0,[]]", b"[1,0,[[1]]]"])
def test_a_base_that_cannot_be_read_is_none(data: bytes) -> None:
    assert read_base(data) is None


def test_a_counter_below_its_base_gains_nothing() -> None:
    lost = difference(snapshot(p=[counter(value=3)]), snapshot(p=[counter(value=5)]))
    assert [list(family.points) for family in lost.producers[0].families] == [[]]


def gained(receiver: OtlpReceiver) -> list[int]:
    return [
        point.as_int
        for request in receiver.metric_requests
        for resource in request.resource_metrics
        for metric in resource.scope_metrics[0].metrics
        for point in metric.sum.data_points
    ]


async def test_what_a_kill_or_an_end_kept_from_being_pushed_is_pushed_by_the_next_process() -> None:
    files: dict[str, bytes] = {}
    async with OtlpReceiver() as receiver:
        otlp = settings(
            receiver.endpoint, metrics=True, logs=False, metrics_interval_s=0.1, temporality="delta", drain_s=0.3
        )
        first = exporter(MemoryJournal(), otlp, metrics=lambda: counted(0 if BASE_FILE not in files else 10))
        first.metrics.files = files  # type: ignore[attr-defined] # the fake's
        running_first = asyncio.create_task(first.run(asyncio.Event()))
        await receiver.wait_metrics(1)
        while b",10]" not in files[BASE_FILE]:
            await asyncio.sleep(0.01)
        running_first.cancel()  # a kill: five more came, and nobody pushed them
        await asyncio.gather(running_first, return_exceptions=True)
        receiver.always = Fault(code=grpc.StatusCode.UNAVAILABLE)
        second = exporter(MemoryJournal(), otlp, metrics=lambda: counted(15))
        second.metrics.files = files  # type: ignore[attr-defined] # the fake's
        await drained(second)  # an orderly end while the collector is away
        receiver.always = Fault()
        third = exporter(MemoryJournal(), otlp, metrics=lambda: counted(15))
        third.metrics.files = files  # type: ignore[attr-defined] # the fake's
        async with running(third):
            await receiver.wait_metrics(2)
    assert gained(receiver) == [10, 5]


async def test_a_base_of_before_cumulative_points_is_forgotten() -> None:
    it = exporter(
        MemoryJournal(), settings("http://127.0.0.1:9", metrics=True, drain_s=0.0), metrics=lambda: counted(1)
    )
    it.metrics.files = {BASE_FILE: write_base(counted(1))}  # type: ignore[attr-defined] # the fake's
    await drained(it)
    assert it.metrics.kept(BASE_FILE) == b""
