"""Cost of an event for the process that emits it: `python -m bench.emit`.

`emit_cost` is the CPU of the calling thread for one order event of ten fields and more: ours is one `emit` into a
spool on disk, the baseline is what the OpenTelemetry SDK needs to say the same (a counter, a histogram and a log
record with the same attributes, through its batch processor; its worker's CPU is not counted against it).
`broker_cpu_per_event` is the CPU of the whole process from `emit` to the acknowledgement of a real sidecar in
another process, against the SDK with its OTLP exporters and a sink in another process. What the load itself costs,
the same loop with an `emit` that does nothing, is taken off both. Rounds alternate.
`emit_p99_while_sidecar_stopped` compares one emit of a hundred while the sidecar is stopped (SIGSTOP, BENCH_STALL_S
seconds) with the same before.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import psutil
import uvloop
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import (
    BatchLogRecordProcessor,
    InMemoryLogRecordExporter,
    LogRecordExporter,
    LogRecordExportResult,
)
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricReader, PeriodicExportingMetricReader

from broker.config import BrokerTelemetrySettings
from broker.events import CATALOGUE
from broker.events.orders import LATENCY_S, OrderTransition
from producer.emitter import Emitter
from producer.stream.client import TelemetryStream

ROUNDS = 15
EVENTS = 4000
RATE = 20_000
SECONDS = 4.0
SDK_EVENTS = 20_000
EMIT_GOAL = 0.05
WHOLE_GOAL = 0.04
STALL_RATE = 5000
STALL_S = float(os.environ.get("BENCH_STALL_S", "10"))
MEMORY_GOAL_MIB = 16
SIDECAR = """
[telemetry]
socket = "{place}/run/telemetry.sock"
journal_directory = "{place}/journal"
[health]
address = "127.0.0.1:0"
[metrics]
address = "127.0.0.1:0"
[console]
address = "127.0.0.1:0"
"""


def row(name: str, ours: float, baseline: float, goal: float) -> dict[str, Any]:
    """A line of the table; microseconds."""
    ratio = ours / baseline
    return {
        "name": name,
        "ours": round(ours, 3),
        "baseline": round(baseline, 3),
        "unit": "us",
        "ratio": round(ratio, 4),
        "goal": goal,
        "holds": ratio <= goal,
    }


def event(number: int) -> OrderTransition:
    return OrderTransition(
        status=("received", "submitted", "filled")[number % 3],
        order_type="market",
        side="buy" if number % 2 else "sell",
        instrument="EUR_USD",
        units="1000",
        price="1.08321",
        order_id=f"01J9ZK3T8Q4W5E6R7T{number:08d}",
        client_order_id=f"client-{number}",
        venue_order_id=str(18_000 + number),
        reason=None,
        duration_s=(number % 300) / 1000,
    )


class Sdk:
    """The SDK's way to say an event."""

    def __init__(self, reader: MetricReader, exporter: LogRecordExporter) -> None:
        self.meters = MeterProvider(metric_readers=[reader])
        meter = self.meters.get_meter("bench")
        self._orders = meter.create_counter("broker.orders", unit="{order}")
        self._durations = meter.create_histogram(
            "broker.order.duration", unit="s", explicit_bucket_boundaries_advisory=list(LATENCY_S)
        )
        self.logs = LoggerProvider()
        self.logs.add_log_record_processor(
            BatchLogRecordProcessor(exporter, max_queue_size=2 * SDK_EVENTS, max_export_batch_size=512)
        )
        self._logger = self.logs.get_logger("bench")

    def emit(self, item: OrderTransition) -> None:
        """One counter, one histogram, one log record."""
        labels = {"status": item.status, "broker": "oanda"}
        self._orders.add(1, labels)
        if item.duration_s is not None:
            self._durations.record(item.duration_s, labels)
        attributes = {name: value for name, value in zip(item._fields, item, strict=True) if value is not None}
        record = LogRecord(
            timestamp=time.time_ns(),
            severity_number=SeverityNumber.INFO,
            event_name="broker.order.transition",
            body="Order reached a status",
            attributes=attributes,
        )
        self._logger.emit(record)


class _Nowhere(InMemoryLogRecordExporter):
    def export(self, batch: Any) -> LogRecordExportResult:
        del batch
        return LogRecordExportResult.SUCCESS


def _cpu_us(emit: Callable[[OrderTransition], None], events: list[OrderTransition]) -> float:
    started = time.thread_time()
    for item in events:
        emit(item)
    return (time.thread_time() - started) / len(events) * 1e6


def emit_cost() -> dict[str, Any]:
    """CPU of the calling thread for one event, median of alternating rounds."""
    events = [event(number) for number in range(EVENTS)]
    sdk = Sdk(InMemoryMetricReader(), _Nowhere())  # type: ignore[no-untyped-call] # the SDK leaves its exporter's constructor untyped
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as place:
        emitter = Emitter(BrokerTelemetrySettings(spool_directory=Path(place)), catalogue=CATALOGUE)
        for _ in range(ROUNDS):
            emitter.spool.maintain(time.monotonic())
            ours.append(_cpu_us(emitter.emit, events))
            emitter.spool.queue.acknowledge(emitter.spool.queue.last)
            theirs.append(_cpu_us(sdk.emit, events))
            sdk.logs.force_flush()
        emitter.close()
    sdk.logs.shutdown()
    sdk.meters.shutdown()
    return row("emit_cost", statistics.median(ours), statistics.median(theirs), EMIT_GOAL)


async def _until(holds: Callable[[], bool]) -> None:
    for _ in range(2000):
        if holds():
            return
        await asyncio.sleep(0.005)
    raise TimeoutError


async def _ours(socket: Path, spool: Path) -> float:
    """CPU in microseconds of this process for each event; start-up and the load's own pacing left out."""
    settings = BrokerTelemetrySettings(socket=socket, spool_directory=spool)
    emitter = Emitter(settings, catalogue=CATALOGUE)
    stream = TelemetryStream(emitter, settings, tuple)
    stop = asyncio.Event()
    events = [event(number) for number in range(10_000)]
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(stream.run(stop))
        await _until(lambda: stream.connected)
        await asyncio.sleep(0.5)
        cpu = time.process_time()
        await _at_rate(emitter.emit, events)
        await _until(lambda: not emitter.ledger().held)
        cost = time.process_time() - cpu
        stop.set()
        await running
    emitter.close()
    cpu = time.process_time()
    await _at_rate(lambda _: None, events)
    return (cost - (time.process_time() - cpu)) / (RATE * SECONDS) * 1e6


async def _at_rate(emit: Callable[[OrderTransition], None], events: list[OrderTransition]) -> None:
    """Calls `emit` at the rate of the bench, every 5 ms for what is due."""
    loop = asyncio.get_running_loop()
    started, number = loop.time(), 0
    while number < RATE * SECONDS:
        due = int(min((loop.time() - started) * RATE, RATE * SECONDS))
        for place in range(number, due):
            emit(events[place % len(events)])
        number = due
        await asyncio.sleep(0.005)


async def _paced(emitter: Emitter, seconds: float) -> list[int]:
    """Emits 5,000 events a second; how long each `emit` took, in nanoseconds."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    took: list[int] = []
    while (elapsed := loop.time() - started) < seconds:
        while len(took) < elapsed * STALL_RATE:
            item = event(len(took) % 10_000)
            before = time.perf_counter_ns()
            emitter.emit(item)
            took.append(time.perf_counter_ns() - before)
        await asyncio.sleep(0.002)
    return took


async def _stalled(socket: Path, spool: Path, sidecar: int) -> dict[str, float]:
    """Figures of `emit` and memory while the sidecar stands still."""
    settings = BrokerTelemetrySettings(socket=socket, spool_directory=spool)
    emitter = Emitter(settings, catalogue=CATALOGUE)
    stream = TelemetryStream(emitter, settings, tuple)
    stop, memory = asyncio.Event(), psutil.Process().memory_info
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(stream.run(stop))
        await _until(lambda: stream.connected)
        normal, before = await _paced(emitter, 3.0), memory().rss
        os.kill(sidecar, signal.SIGSTOP)
        try:
            stalled, after = await _paced(emitter, STALL_S), memory().rss
        finally:
            os.kill(sidecar, signal.SIGCONT)
        await _until(lambda: not emitter.ledger().held)
        stop.set()
        await running
    dropped = sum(emitter.ledger().dropped.values())
    emitter.close()
    p99 = [statistics.quantiles(took, n=100)[-1] / 1000 for took in (stalled, normal)]
    return {"stalled_us": p99[0], "normal_us": p99[1], "grown": after - before, "dropped": dropped}


def _theirs(endpoint: str) -> float:
    """The same for the SDK with its OTLP exporters."""
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter  # noqa: PLC0415 - the child's
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter  # noqa: PLC0415

    reader = PeriodicExportingMetricReader(OTLPMetricExporter(endpoint, insecure=True), export_interval_millis=1000)
    sdk = Sdk(reader, OTLPLogExporter(endpoint, insecure=True))
    events = [event(number) for number in range(10_000)]
    sdk.emit(events[0])
    sdk.logs.force_flush()
    cpu = time.process_time()
    _in_hundreds(sdk.emit, events)
    sdk.logs.force_flush()
    sdk.meters.force_flush()
    cost = time.process_time() - cpu
    sdk.logs.shutdown()
    sdk.meters.shutdown()
    cpu = time.process_time()
    _in_hundreds(lambda _: None, events)
    return (cost - (time.process_time() - cpu)) / SDK_EVENTS * 1e6


def _in_hundreds(emit: Callable[[OrderTransition], None], events: list[OrderTransition]) -> None:
    """Calls `emit` for the SDK's events; a pause after each hundred lets its worker run."""
    for number in range(SDK_EVENTS):
        emit(events[number % len(events)])
        if number % 100 == 0:
            time.sleep(0.001)


class _Anything(grpc.GenericRpcHandler):
    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        del handler_call_details
        return grpc.unary_unary_rpc_method_handler(lambda _, __: b"")


def _sink() -> None:
    """An OTLP endpoint that takes everything and reads nothing."""
    server = grpc.server(ThreadPoolExecutor(2), handlers=[_Anything()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(json.dumps({"event": "listening", "endpoint": f"127.0.0.1:{port}"}), flush=True)
    server.wait_for_termination()


@contextmanager
def _child(*arguments: str) -> Iterator[dict[str, Any]]:
    """A child that says where it listens; ended with the block."""
    with subprocess.Popen([sys.executable, "-m", *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            found = next(said for line in process.stdout if (said := json.loads(line)).get("event") == "listening")
            yield {**found, "pid": process.pid}
        finally:
            process.terminate()
            process.stdout.read()


def _measured(*arguments: str) -> Any:
    command = [sys.executable, "-m", "bench.emit", *arguments]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@contextmanager
def _sidecar() -> Iterator[tuple[str, str, str]]:
    """A real sidecar: its socket, a place for a spool, its process id."""
    with tempfile.TemporaryDirectory() as text:
        place = Path(text)
        config = place / "sidecar.toml"
        config.write_text(SIDECAR.format(place=place))
        with _child("sidecar", "--config", str(config)) as said:
            yield str(place / "run" / "telemetry.sock"), str(place / "spool"), str(said["pid"])


def emit_while_stalled() -> list[dict[str, Any]]:
    """The longest of a hundred emits while the sidecar stands still, and what memory grows by."""
    with _sidecar() as places:
        found = _measured("stalled", *places)
    grown = {
        "name": "emitter_memory_while_sidecar_stopped",
        "ours": round(found["grown"] / (1 << 20), 2),
        "baseline": None,
        "unit": "MiB",
        "ratio": None,
        "goal": MEMORY_GOAL_MIB,
        "holds": found["grown"] <= MEMORY_GOAL_MIB << 20 and not found["dropped"],
    }
    return [row("emit_p99_while_sidecar_stopped", found["stalled_us"], found["normal_us"], 2.0), grown]


def broker_cpu_per_event() -> dict[str, Any]:
    """CPU of the whole process for one event, emitted to acknowledged."""
    with _sidecar() as (socket, spool, _):
        ours = _measured("ours", socket, spool)
    with _child("bench.emit", "sink") as said:
        theirs = _measured("theirs", said["endpoint"])
    return row("broker_cpu_per_event", ours, theirs, WHOLE_GOAL)


def rows() -> list[dict[str, Any]]:
    """Every line of this bench."""
    return [emit_cost(), broker_cpu_per_event(), *emit_while_stalled()]


def main(arguments: list[str]) -> None:
    match arguments:
        case ["ours", socket, spool]:
            print(uvloop.run(_ours(Path(socket), Path(spool))))
        case ["stalled", socket, spool, sidecar]:
            print(json.dumps(uvloop.run(_stalled(Path(socket), Path(spool), int(sidecar)))))
        case ["theirs", endpoint]:
            print(_theirs(endpoint))
        case ["sink"]:
            _sink()
        case _:
            print(json.dumps(rows(), indent=1))


if __name__ == "__main__":
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    main(sys.argv[1:])
