"""Cost of a scrape while events arrive: `python -m bench.scrape [scrapes]`.

The pipeline and its /metrics page run in a process of its own on the first core, with 10,000 series of which every
one changes between two scrapes; 20,000 events a second come through the socket. The load generator, which also
scrapes (OpenMetrics, gzip) four times a second, is on the second core. The pause is the CPU that the loop spends
between two turns of a task that wants to run each millisecond: what ingest waits for, whatever else the machine does.
The same is measured without scrapes beside it: what is longest then is what a checkpoint, every five seconds, makes.
The baseline is prometheus_client's own writer over the same snapshots, in a run of its own right before.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from time import perf_counter, thread_time, time_ns
from typing import Any

import aiohttp
import uvloop
from aiohttp import web
from grpc import aio
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from pod_runtime.run import keep_short
from sidecar.pipeline import TelemetryPipeline
from sidecar.prometheus.page import MetricsPage
from sidecar.telemetry.model import Distribution, MetricSource, Number
from sidecar.telemetry.settings import TelemetrySettings
from telemetry_contract.v1 import telemetry_pb2 as pb

EVENTS_PER_S = 20_000
BATCH_EVENTS = 500
COUNTERS, COUNTER_SERIES = 5, 1000
HISTOGRAM_SERIES = 320
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SERIES = COUNTERS * COUNTER_SERIES + HISTOGRAM_SERIES * (len(BOUNDS) + 3)
SCRAPE_GOAL_MS, PAUSE_GOAL_MS = 60.0, 10.0


def define() -> pb.Define:
    """An event that feeds five counters and a histogram."""
    message = pb.Define(event_id=1, name="bench.event")
    for name in ("strategy", "route"):
        message.fields.add(name=name, type=pb.FIELD_TYPE_STRING, role=pb.FIELD_ROLE_LABEL)
    message.fields.add(name="duration_s", type=pb.FIELD_TYPE_DOUBLE, role=pb.FIELD_ROLE_MEASURE)
    for number in range(COUNTERS):
        message.instruments.add(
            name=f"bench.orders{number}",
            kind=pb.INSTRUMENT_KIND_COUNTER,
            unit="{order}",
            description="Orders",
            labels=["strategy"],
            constant_labels={"broker": "oanda"},
        )
    message.instruments.add(
        name="bench.duration",
        kind=pb.INSTRUMENT_KIND_HISTOGRAM,
        unit="s",
        description="Duration",
        measure="duration_s",
        labels=["route"],
        bounds=BOUNDS,
    )
    return message


def batch(first: int) -> pb.Batch:
    """The events from sequence `first` on; every series has one in each thousand."""
    rows = range(first, first + BATCH_EVENTS)
    group = pb.Group(
        event_id=1,
        count=BATCH_EVENTS,
        base_time_unix_nano=time_ns(),
        time_offsets_nano=[0] * BATCH_EVENTS,
        columns=[
            pb.Column(values=[f"strategy-{row % COUNTER_SERIES}" for row in rows]),
            pb.Column(values=[f"/v1/route/{row % HISTOGRAM_SERIES}" for row in rows]),
            pb.Column(doubles=[row % 997 / 100 for row in rows]),
        ],
    )
    return pb.Batch(first_sequence=first, count=BATCH_EVENTS, groups=[group])


class ClientPage:
    """The baseline: the page as prometheus_client writes it, at once and compressed."""

    def __init__(self, source: MetricSource) -> None:
        self._source = source

    def collect(self) -> Iterator[Metric]:
        """The snapshot's families as prometheus_client has them."""
        for producer in self._source.snapshot().producers:
            for family in producer.families:
                labels = [*(name for name, _ in family.points[0].labels), "producer"]
                name = family.name.replace(".", "_")
                counter = CounterMetricFamily(name, family.description, labels=labels)
                histogram = HistogramMetricFamily(name, family.description, labels=labels)
                bounds = [*map(str, family.bounds), "+Inf"]
                for point in family.points:
                    values = [*(value for _, value in point.labels), producer.producer_id]
                    if isinstance(point, Number):
                        counter.add_metric(values, point.value, created=point.start_ns / 1e9)
                    elif isinstance(point, Distribution):
                        totals = zip(bounds, accumulate(point.buckets), strict=True)
                        histogram.add_metric(values, list(totals), point.sum)
                yield histogram if family.bounds else counter

    async def handle(self, _: web.Request) -> web.Response:
        """The page in OpenMetrics, compressed as ours is."""
        page: bytes = generate_latest(self)  # type: ignore[no-untyped-call]
        body = zlib.compress(page, 1, wbits=31)
        return web.Response(body=body, headers={"Content-Encoding": "gzip"})


async def serve(directory: Path, writer: str) -> None:
    """The measured process: each line of input ends a window; the longest pause in it is the answer."""
    settings = TelemetrySettings(socket=directory / "run" / "t.sock", journal_directory=directory / "journal")
    pipeline = TelemetryPipeline(settings=settings, clock=time_ns)
    await pipeline.open()
    keep_short(asyncio.get_running_loop(), 0.0)
    application = web.Application()
    page = {"ours": MetricsPage, "prometheus_client": ClientPage}[writer](pipeline)
    application.router.add_get("/metrics", page.handle)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    stop, turns_s = asyncio.Event(), [0.0]

    async def watch() -> None:
        while not stop.is_set():
            began_s = thread_time()
            await asyncio.sleep(0.001)
            turns_s.append(thread_time() - began_s)

    def answer() -> None:
        if not sys.stdin.readline():
            stop.set()
        print(json.dumps({"pauses_ms": [1000 * each for each in sorted(turns_s)[-3:]]}), flush=True)
        turns_s[:] = [0.0]

    asyncio.get_running_loop().add_reader(0, answer)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(pipeline.serve(stop))
        tasks.create_task(watch())
        await pipeline.listening.wait()
        print(json.dumps({"address": "http://{}:{}/metrics".format(*runner.addresses[0][:2])}), flush=True)
    await runner.cleanup()


async def load(socket: Path, stop: asyncio.Event) -> None:
    """Sends 20,000 events a second, each batch at its time."""
    async with aio.insecure_channel(f"unix:{socket}") as channel:
        call: Any = channel.stream_stream("/telemetry.v1.TelemetryService/Publish")()
        hello = pb.Hello(protocol_version=1, producer_id="bench", session_id="s", first_sequence=1)
        await call.write(pb.PublishRequest(hello=hello).SerializeToString())
        await call.write(pb.PublishRequest(define=define()).SerializeToString())

        async def read() -> None:
            while True:
                await call.read()

        reading = asyncio.ensure_future(read())
        first, due_s = 1, perf_counter()
        while not stop.is_set():
            await call.write(pb.PublishRequest(batch=batch(first)).SerializeToString())
            first += BATCH_EVENTS
            due_s += BATCH_EVENTS / EVENTS_PER_S
            await asyncio.sleep(max(due_s - perf_counter(), 0))
        reading.cancel()


async def scrape(session: aiohttp.ClientSession, address: str) -> tuple[float, str]:
    """Seconds of one scrape, and the page."""
    began_s = perf_counter()
    async with session.get(address) as answer:
        raw = await answer.read()
    return perf_counter() - began_s, raw.decode()


async def measure(scrapes: int, writer: str) -> dict[str, list[float]]:
    """Times of the scrapes, and the longest pauses with and without them."""
    with tempfile.TemporaryDirectory() as place:
        pipe = asyncio.subprocess.PIPE
        command = [sys.executable, "-m", "bench.scrape", "--serve", place, writer]
        child = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
        assert child.stdin is not None
        assert child.stdout is not None
        address = json.loads(await child.stdout.readline())["address"]
        stop = asyncio.Event()
        times: list[float] = []

        async def window() -> list[float]:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(b"\n")
            return list(json.loads(await child.stdout.readline())["pauses_ms"])

        headers = {"Accept": "application/openmetrics-text;version=1.0.0"}
        async with aiohttp.ClientSession(headers=headers) as session, asyncio.TaskGroup() as tasks:
            tasks.create_task(load(Path(place) / "run" / "t.sock", stop))
            await asyncio.sleep(1)
            await scrape(session, address)
            await window()
            await asyncio.sleep(scrapes * 0.25)
            without = await window()
            for _ in range(scrapes):
                seconds, page = await scrape(session, address)
                times.append(seconds * 1000)
                await asyncio.sleep(0.25 - seconds % 0.25)
            during = await window()
            stop.set()
        families = text_string_to_metric_families(page)  # type: ignore[no-untyped-call] # prometheus_client leaves it so
        found = [sample for each in families for sample in each.samples]
        assert sum(not sample.name.endswith("_created") for sample in found) == SERIES
        child.stdin.close()
        await child.wait()
    return {"times": times, "during": during, "without": without}


def row(name: str, ours: float, baseline: float | None, goal: float) -> dict[str, Any]:
    """A line of the table."""
    ratio = round(ours / baseline, 2) if baseline else None
    return {
        "name": name, "ours": round(ours, 2), "baseline": baseline and round(baseline, 2), "unit": "ms",
        "ratio": ratio, "goal": goal, "holds": ours <= goal,
    }  # fmt: skip


def rows(scrapes: int = 100) -> list[dict[str, Any]]:
    """The 99th percentile of the scrapes, the longest pause while they run, and without them."""
    client = uvloop.run(measure(scrapes, "prometheus_client"))
    figures = uvloop.run(measure(scrapes, "ours"))

    def p99(found: dict[str, list[float]]) -> float:
        return sorted(found["times"])[int(len(found["times"]) * 0.99)]

    return [
        row("scrape_10k_series_p99", p99(figures), p99(client), SCRAPE_GOAL_MS),
        row("scrape_longest_pause", figures["during"][-1], client["during"][-1], PAUSE_GOAL_MS),
        row("checkpoint_longest_pause", figures["without"][-1], None, PAUSE_GOAL_MS),
    ]


def main(arguments: Sequence[str]) -> None:
    """Measures, or is the measured process."""
    if arguments[:1] == ["--serve"]:
        os.sched_setaffinity(0, {0})
        uvloop.run(serve(Path(arguments[1]), arguments[2]))
        return
    cores = os.sched_getaffinity(0)
    if len(cores) > 1:
        os.sched_setaffinity(0, cores - {0})
    for line in rows(*map(int, arguments)):
        print(json.dumps(line))


if __name__ == "__main__":
    main(sys.argv[1:])
