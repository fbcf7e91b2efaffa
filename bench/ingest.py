"""Events a second that one core of the sidecar takes, and CPU for each: `python -m bench.ingest [seconds]`.

The pipeline (and, for the rows with log records, the exporter) runs in a process of its own on the first core; the
load generator, and a collector that only counts bytes, on the second. Batches of 512 order events with ten fields
are built before the clock starts. Everything sent is acknowledged, counted and, with logs, exported.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter, time_ns
from typing import Any

import grpc
import uvloop
from grpc import aio
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2

from pod_runtime.files.framing import delimited
from sidecar.export.client import CollectorClient
from sidecar.export.exporter import OtlpExporter
from sidecar.export.rejected import RejectedRecords
from sidecar.export.settings import OtlpSettings
from sidecar.pipeline import TelemetryPipeline
from sidecar.telemetry.settings import TelemetrySettings
from telemetry_contract.v1 import telemetry_pb2 as pb

BATCH_EVENTS = 512
RECORDS = 512
KEPT = 8
BOUNDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
STATUSES = ("pending", "accepted", "filled", "rejected", "cancelled")


def define(*, log: bool) -> pb.Define:
    """An order event of ten fields: a counter, a histogram and, if wanted, a log record."""
    labels = ("status", "order_type", "side", "instrument")
    attributes = ("price", "order_id", "client_order_id", "venue_order_id", "reason")
    text = pb.FIELD_TYPE_STRING
    message = pb.Define(event_id=1, name="broker.order.transition")
    for name in labels:
        message.fields.add(name=name, type=text, role=pb.FIELD_ROLE_LABEL)
    message.fields.add(name="duration_s", type=pb.FIELD_TYPE_DOUBLE, role=pb.FIELD_ROLE_MEASURE)
    for name in attributes:
        message.fields.add(name=name, type=text, role=pb.FIELD_ROLE_ATTRIBUTE)
    message.instruments.add(name="broker.orders", kind=pb.INSTRUMENT_KIND_COUNTER, unit="{order}", labels=["status"])
    message.instruments.add(
        name="broker.order.duration",
        kind=pb.INSTRUMENT_KIND_HISTOGRAM,
        unit="s",
        measure="duration_s",
        labels=["status", "order_type"],
        bounds=BOUNDS,
    )
    if log:
        message.log.severity = pb.SEVERITY_INFO
        message.log.body = "Order reached a status"
    return message


def group(number: int) -> pb.Group:
    """512 events, different for each number."""
    rows = range(number * BATCH_EVENTS, (number + 1) * BATCH_EVENTS)
    codes = [
        pb.Column(values=values, indexes=[row % len(values) for row in rows])
        for values in (STATUSES, ("market", "limit"), ("buy", "sell"), ("EUR_USD", "USD_JPY", "DE30_EUR"))
    ]
    texts = [pb.Column(values=[f"{name}-{row}" for row in rows]) for name in ("1.0", "ord", "client", "venue")]
    return pb.Group(
        event_id=1,
        count=BATCH_EVENTS,
        base_time_unix_nano=time_ns(),
        time_offsets_nano=[row * 1000 for row in range(BATCH_EVENTS)],
        columns=[
            *codes,
            pb.Column(doubles=[row % 997 / 1000 for row in rows]),
            *texts,
            pb.Column(values=[""], indexes=[0] * BATCH_EVENTS, absent=range(BATCH_EVENTS)),
        ],
    )


def message(body: bytes, first: int) -> bytes:
    """A PublishRequest with a batch whose first sequence stands last: fields may come in any order."""
    batch = body + pb.Batch(first_sequence=first).SerializeToString()
    return delimited(pb.PublishRequest.BATCH_FIELD_NUMBER, batch)


@asynccontextmanager
async def sink(kept: list[bytes] | None = None, taken: list[int] | None = None) -> AsyncIterator[str]:
    """A collector that reads nothing of what it takes; its URL. Keeps the first requests, counts bytes."""
    answer = logs_service_pb2.ExportLogsServiceResponse().SerializeToString()

    async def take(raw: bytes, _context: Any) -> bytes:
        if kept is not None and len(kept) < KEPT:
            kept.append(raw)
        if taken is not None:
            taken[0] += len(raw)
        return answer

    server = aio.server(options=[("grpc.max_receive_message_length", 8 << 20)])
    handlers: dict[str, Any] = {"Export": grpc.unary_unary_rpc_method_handler(take)}
    name = "opentelemetry.proto.collector.logs.v1.LogsService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await server.stop(None)


def cpu_s() -> float:
    """CPU seconds of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def serve(directory: Path, endpoint: str) -> None:
    """The measured process: says that it listens; on a line of input waits for the export, and says what it did."""
    settings = TelemetrySettings(
        socket=directory / "run" / "t.sock", journal_directory=directory / "journal", journal_bytes=2 << 30
    )
    pipeline = TelemetryPipeline(settings=settings, clock=time_ns)
    await pipeline.open()
    stop, asked = asyncio.Event(), asyncio.Event()
    asyncio.get_running_loop().add_reader(0, asked.set)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(pipeline.serve(stop))
        if endpoint:
            otlp = OtlpSettings(endpoint=endpoint, metrics=False, max_request_records=RECORDS)
            exporter = OtlpExporter(
                settings=otlp,
                logs=pipeline.state.log_queue,
                metrics=pipeline,
                client=CollectorClient(otlp, clock=time_ns, chance=lambda: 0.5),
                rejected=RejectedRecords(None, otlp.rejected_bytes),
                resource={},
                clock=time_ns,
            )
            tasks.create_task(exporter.run(stop))
        await pipeline.listening.wait()
        began_s = cpu_s()
        print(json.dumps({"listening": True}), flush=True)
        await asked.wait()
        while endpoint and pipeline.ledger().logs.queued:  # noqa: ASYNC110 - the ledger has no event
            await asyncio.sleep(0.005)
        ledger = pipeline.ledger()
        print(
            json.dumps(
                {
                    "cpu_s": cpu_s() - began_s,
                    "counted": ledger.events.counted,
                    "exported": ledger.logs.exported,
                    "rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                }
            ),
            flush=True,
        )
        stop.set()


async def load(socket: Path, batches: int, *, log: bool) -> None:
    """Sends the batches as fast as the window lets it, until all are acknowledged."""
    bodies = [pb.Batch(count=BATCH_EVENTS, groups=[group(number)]).SerializeToString() for number in range(8)]
    async with aio.insecure_channel(f"unix:{socket}") as channel:
        call: Any = channel.stream_stream("/telemetry.v1.TelemetryService/Publish")()
        hello = pb.Hello(protocol_version=1, producer_id="bench", session_id="s", first_sequence=1)
        await call.write(pb.PublishRequest(hello=hello).SerializeToString())
        window = pb.PublishResponse.FromString(await call.read()).welcome.window_bytes
        await call.write(pb.PublishRequest(define=define(log=log)).SerializeToString())
        sent = acknowledged = 0
        room = asyncio.Event()

        async def read() -> None:
            nonlocal acknowledged
            while acknowledged < batches * BATCH_EVENTS:
                acknowledged = pb.PublishResponse.FromString(await call.read()).ack.durable_through
                room.set()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(read())
            size = len(message(bodies[0], 1))
            while sent < batches:
                while (sent * BATCH_EVENTS - acknowledged) / BATCH_EVENTS * size > window - size:
                    room.clear()
                    await room.wait()
                await call.write(message(bodies[sent % 8], sent * BATCH_EVENTS + 1))
                sent += 1
        await call.done_writing()


async def run_once(batches: int, *, log: bool, kept: list[bytes] | None = None) -> dict[str, float]:
    """One measured process under load; its figures with the seconds it took."""
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        async with sink(kept) as endpoint:
            command = [sys.executable, "-m", "bench.ingest", "--serve", place, endpoint if log else ""]
            pipe = asyncio.subprocess.PIPE
            child = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
            assert child.stdout is not None
            assert child.stdin is not None
            await child.stdout.readline()
            began_s = perf_counter()
            await load(directory / "run" / "t.sock", batches, log=log)
            child.stdin.write(b"done\n")
            figures: dict[str, float] = json.loads(await child.stdout.readline())
            figures["seconds"] = perf_counter() - began_s
            await child.wait()
    events = batches * BATCH_EVENTS
    assert figures["counted"] == events
    assert figures["exported"] == (events if log else 0)
    return figures


def row(name: str, ours: float, unit: str, goal: float | None, *, more_is_better: bool) -> dict[str, Any]:
    """A line of the table."""
    holds = None if goal is None else (ours >= goal if more_is_better else ours <= goal)
    return {
        "name": name, "ours": round(ours, 2), "baseline": None, "unit": unit, "ratio": None, "goal": goal,
        "holds": holds,
    }  # fmt: skip


def rows(seconds: float = 5.0) -> list[dict[str, Any]]:
    """Throughput and CPU for each event, with and without log records."""
    found = []
    for log, goal in ((False, 200_000), (True, 100_000)):
        batches = int(seconds * goal / BATCH_EVENTS)
        figures = uvloop.run(run_once(batches, log=log))
        events, suffix = batches * BATCH_EVENTS, "logs" if log else "metrics"
        rate = events / max(figures["seconds"], figures["cpu_s"])
        found += [
            row(f"sidecar_throughput_{suffix}", rate, "events/s", goal, more_is_better=True),
            row(f"sidecar_cpu_{suffix}", figures["cpu_s"] / events * 1e6, "us/event", None, more_is_better=False),
            row(f"sidecar_rss_loaded_{suffix}", figures["rss_mib"], "MiB", 128, more_is_better=False),
        ]
    return found


def main(arguments: Sequence[str]) -> None:
    """Measures, or is the measured process."""
    if arguments[:1] == ["--serve"]:
        os.sched_setaffinity(0, {0})
        uvloop.run(serve(Path(arguments[1]), arguments[2]))
        return
    cores = os.sched_getaffinity(0)
    if len(cores) > 1:
        os.sched_setaffinity(0, cores - {0})
    for line in rows(*map(float, arguments)):
        print(json.dumps(line))


if __name__ == "__main__":
    main(sys.argv[1:])
