"""The sidecar: all parts of the process, built here, started and ended in order.

Start
    bind        TCP addresses first, before anything is read: a taken port is a clear fault. `Sidecar.__init__` has
                built all parts that need nothing of the journal.
    serving     Probes and console answer at once: "not ready" is an answer, silence looks like a crash.
    secrets     The agent logs in and publishes while the journal is still read: the broker waits for both.
    telemetry   `pipeline.open` locks the journal, reads the checkpoint and replays. Only then are there figures, an
                instance id for the resource, and so self-metrics and exporter. /metrics answers 503 before that.
    socket      Producers can connect last, when everything behind the socket runs.

End, on `stop`
    1. Producers have `telemetry.drain_s` to say goodbye; meanwhile they are acknowledged as before.
    2. `producers_left`: secrets, self-metrics and control socket end; the exporter has `otlp.drain_s` for what is
       queued.
    3. `flushed`: the gRPC server ends, and the last checkpoint is written: after the exporter's last request, so that
       the next start does not export the same records again.
    4. `ended`: probes, console and health, which told of the drain until here.

Every part is a task of one of two groups. One that fails ends the others through its group, and then the process.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import psutil
from aiohttp import web
from grpc_health.v1 import health_pb2_grpc

from pod_runtime import VERSION
from pod_runtime.cancellation import PersistentTaskGroup
from pod_runtime.run import persist
from sidecar import status_facts as facts
from sidecar.config import SidecarConfig
from sidecar.console.bundle import RecentLog, bundle_files
from sidecar.console.control import control_application, control_path
from sidecar.console.server import console_application
from sidecar.console.status import time_series
from sidecar.console.status.sampler import AuditTimeline, StatusSampler
from sidecar.export.client import CollectorClient
from sidecar.export.exporter import OtlpExporter
from sidecar.export.rejected import RejectedRecords
from sidecar.export.status import ExportStatus, SignalStatus
from sidecar.health.conditions import HealthFacts
from sidecar.health.health import ChangeAges, HealthMonitor
from sidecar.health.probes import GrpcHealth, probe_application
from sidecar.ingest.producers import ProducerStatus
from sidecar.ingest.tail import TailEvent
from sidecar.metrics.ledger import EventLedger, LogLedger, SidecarLedger
from sidecar.pipeline import TelemetryPipeline
from sidecar.prometheus.page import MetricsPage
from sidecar.selfmetrics.self_metrics import SelfMetrics
from sidecar.selfmetrics.table import NO_SECRETS, TABLE, WITHOUT_SECRETS, ProcessSnapshot, ProcessUsage
from sidecar.telemetry.resource import own_resource
from sidecar.web import Server, bind, serve_control, serve_http

if TYPE_CHECKING:
    from sidecar.console.document import StatusDocument
    from sidecar.secrets.agent import SecretsAgent

log = logging.getLogger(__name__)
DRAIN_POLL_S = 0.05
REJECTED_DIRECTORY = "rejected"
"""Directory beside the journal's, for records that the collector refused for good."""

# The ledger before the journal is open.
_EMPTY_LEDGER = SidecarLedger(events=EventLedger(), logs=LogLedger())


@dataclass(eq=False)
class Sidecar:
    """All parts of the process. `bind` first, then `run` until `stop`.

    Health, console and self-metrics read the other parts through it: `facts`, `inputs`, `process_snapshot`.
    """

    config: SidecarConfig
    environ: Mapping[str, str]
    recent: RecentLog
    agent: SecretsAgent | None
    timeline: AuditTimeline

    def __post_init__(self) -> None:
        config = self.config
        self._identity = time_series.ProcessIdentity(version=VERSION, pid=os.getpid(), started_ns=time.time_ns())
        self._grpc_health = GrpcHealth()
        self._pipeline = TelemetryPipeline(
            # The wait for producers is ours: the exporter's last request must lie between it and the last checkpoint.
            settings=replace(config.telemetry, drain_s=0),
            clock=time.time_ns,
            services=(partial(health_pb2_grpc.add_HealthServicer_to_server, self._grpc_health.servicer),),
            keep_logs=bool(config.otlp.endpoint) and config.otlp.logs,
            secrets=self.agent.acknowledgements if self.agent else None,
        )
        self._exporter: OtlpExporter | None = None
        self._process = psutil.Process()
        self._heartbeats, self._connections = ChangeAges(), ChangeAges()
        self._health = HealthMonitor(config.health, self, listener=self._grpc_health)
        self._sampler = StatusSampler(config.console, self)
        self._page: MetricsPage | None = None
        self._servers: list[Server] = []
        self._opened = self._listening = self._draining = False

    def bind(self) -> None:
        """Bind every TCP address. Raises AddressError: an address cannot be bound."""
        config = self.config
        self._servers.append(bind("probes", probe_application(self._health), config.health.address))
        metrics = web.Application()
        metrics.router.add_get("/metrics", self._answer_metrics)
        self._servers.append(bind("metrics", metrics, config.metrics.address))
        if config.console.address:
            hosts = frozenset(config.console.allowed_hosts)
            application = console_application(self, self._sampler.watchers, hosts)
            self._servers.append(bind("console", application, config.console.address))

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop`, then drain; probes and console answer until all else has ended.

        Raises ExceptionGroup: the errors of a part; OSError where a directory, socket or file cannot be used.
        """
        ended = asyncio.Event()
        async with PersistentTaskGroup() as tasks:
            for server in self._servers:
                tasks.create_task(serve_http(server, ended), name=server.name)
            tasks.create_task(self._health.run(ended), name="health")
            tasks.create_task(self._grpc_health.run(ended), name="grpc-health")
            tasks.create_task(self._sampler.run(ended), name="status-sampler")
            await self._run_parts(stop)
            ended.set()

    async def _run_parts(self, stop: asyncio.Event) -> None:
        """Run secrets and telemetry beside each other; on `stop` end producers, then the export, then the rest."""
        producers_left, flushed = asyncio.Event(), asyncio.Event()
        async with PersistentTaskGroup() as tasks:
            if self.agent is not None:
                tasks.create_task(self.agent.run(producers_left), name="secrets")
            hangup = tasks.create_task(_rotate_on_hangup(self.agent), name="hangup")
            await persist("journal", self._pipeline.open, stop)
            self._opened = True
            resource = own_resource(self.environ, version=VERSION, instance_id=self._pipeline.instance_id)
            own = SelfMetrics(self, resource, self.config.otlp, TABLE if self.agent else WITHOUT_SECRETS)
            self._page = MetricsPage(self._pipeline, own)
            self._exporter = self._make_exporter(own, resource)
            exporting = tasks.create_task(self._exporter.run(producers_left), name="export")
            tasks.create_task(own.run(producers_left), name="self-metrics")
            place = control_path(self.config.telemetry.journal_directory)
            tasks.create_task(serve_control(control_application(self.agent), place, producers_left), name="control")
            tasks.create_task(self._pipeline.serve(flushed), name="telemetry")
            await self._pipeline.listening.wait()
            self._listening = True
            # At once, not at the next interval: kubelet asks `startupz`, and the broker waits for it to succeed.
            self._health.refresh()
            addresses = {server.name: server.address for server in self._servers}
            log.info("listening", extra={**addresses, "socket": f"unix:{self.config.telemetry.socket}"})
            await stop.wait()
            await self._await_producers()
            producers_left.set()
            hangup.cancel()
            # In this order: see "End" above.
            await exporting
            flushed.set()
        from sidecar.console.status.builder import ledger_object  # noqa: PLC0415 - see StatusSampler.status

        ledger = self._ledger()
        # A journal that does not outlive the pod takes them along.
        level = logging.WARNING if ledger.logs.queued else logging.INFO
        log.log(level, "sidecar.drained", extra={"ledger": ledger_object(ledger)})

    async def _await_producers(self) -> None:
        """Wait until every producer has gone or said goodbye, at most `telemetry.drain_s`."""
        self._draining = True
        # At once: the pod should leave its Service before its producers leave it.
        self._health.refresh()
        log.info("sidecar.draining")
        end = time.monotonic() + self.config.telemetry.drain_s
        while time.monotonic() < end and any(map(_is_awaited, self._pipeline.producers.all())):  # noqa: ASYNC110 - no event
            await asyncio.sleep(DRAIN_POLL_S)

    def _make_exporter(self, own: SelfMetrics, resource: Mapping[str, str]) -> OtlpExporter:
        otlp = self.config.otlp
        directory = self.config.telemetry.journal_directory.parent / REJECTED_DIRECTORY
        return OtlpExporter(
            settings=otlp,
            logs=self._pipeline.state.log_queue,
            metrics=self._pipeline,
            client=CollectorClient(otlp, clock=time.time_ns, chance=random.random, observer=own),
            rejected=RejectedRecords(directory, otlp.rejected_bytes),
            resource=resource,
            clock=time.time_ns,
        )

    async def _answer_metrics(self, request: web.Request) -> web.Response:
        # The port is bound before there are figures. A page without them would show every counter as reset.
        if self._page is None:
            return web.Response(status=503, text="the journal is being read\n", headers={"Retry-After": "1"})
        return await self._page.handle(request)

    def sample(self) -> time_series.StatusSample | None:
        """Take a sample of the running counts, once the journal is open."""
        if not self._opened:
            return None
        panels = time_series.panel_samples(self.config.console.panels, self._pipeline.snapshot())
        return time_series.StatusSample(
            time_s=time.monotonic(), totals=time_series.event_totals(self._ledger()), panels=panels
        )

    def facts(self) -> HealthFacts:
        """Collect the facts by which health is judged."""
        wanted = self.config.health.producer
        producer = self._pipeline.producers.get(wanted)
        now_s = time.monotonic()
        heartbeat_s = self._heartbeats.age_s(wanted, producer.last_heartbeat_ns, now_s) if producer else None
        connection_s = self._connections.age_s(wanted, producer.changed_ns, now_s) if producer else None
        return HealthFacts(
            now_ns=time.time_ns(),
            draining=self._draining,
            socket_open=self._listening,
            journal_fault=facts.journal_fault(self._pipeline.journal_status()) if self._opened else None,
            secrets=facts.secrets_facts(self.agent.status() if self.agent else None),
            producer=facts.producer_facts(wanted, producer, heartbeat_s, connection_s),
            export=facts.export_facts(self._export_status()),
        )

    def process_snapshot(self) -> ProcessSnapshot:
        """All figures of this moment, for the self-metrics."""
        pipeline = self._pipeline
        return ProcessSnapshot(
            now_ns=time.time_ns(),
            ledger=pipeline.ledger(),
            producers=self._pipeline.producers.all(),
            journal=pipeline.journal_status(),
            ingest=pipeline.ingest.counts,
            series=pipeline.state.aggregate.series_count(),
            overflow=pipeline.state.aggregate.overflow,
            refused=pipeline.state.aggregate.refused,
            export=self._export_status(),
            conditions=self._health.conditions,
            process=ProcessUsage.of(self._process),
            refused_connections={
                (server.name, reason): count for server in self._servers for reason, count in server.refused.items()
            },
            secrets=self.agent.status() if self.agent else NO_SECRETS,
        )

    def inputs(self, series: time_series.TimeSeries) -> time_series.StatusInputs:
        """Collect what the parts report, for the status document."""
        return time_series.StatusInputs(
            now_ns=time.time_ns(),
            identity=self._identity,
            conditions=self._health.conditions,
            producers=self._pipeline.producers.all(),
            ledger=self._ledger(),
            export=self._export_status(),
            secrets=self.agent.status() if self.agent else None,
            actions=self.timeline.latest(),
            journal=self._pipeline.journal_status() if self._opened else None,
            series=series,
            panels=self.config.console.panels,
            interval_s=self.config.console.interval_s,
        )

    def _ledger(self) -> SidecarLedger:
        return self._pipeline.ledger() if self._opened else _EMPTY_LEDGER

    def _export_status(self) -> ExportStatus:
        if self._exporter is None:
            return ExportStatus(endpoint=self.config.otlp.endpoint, logs=SignalStatus(), metrics=SignalStatus())
        return self._exporter.status()

    def status(self) -> StatusDocument:
        """Build the status document of this moment, for the console."""
        return self._sampler.status()

    def tail(self) -> AsyncIterator[TailEvent]:
        """Follow the producers' events from now on, for the console."""
        return self._pipeline.tail.watch()

    async def bundle(self) -> dict[str, str]:
        """Collect the files of the diagnostics bundle, for the console."""
        return await bundle_files(self.config, self.status(), self.recent, self._page)


def _is_awaited(producer: ProducerStatus) -> bool:
    """True while a drain waits for the producer."""
    return bool((producer.connected and not producer.goodbye) or producer.recovery_streams)


async def _rotate_on_hangup(agent: SecretsAgent | None) -> None:
    """Read and publish every secret again at each SIGHUP, as daemons by custom read their files again."""
    if agent is None:
        return
    # By default SIGHUP ends the process; the handler takes only a note, for a rotation awaits Vault.
    loop, asked = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, asked.set)
    try:
        while True:
            await asked.wait()
            asked.clear()
            log.info("secrets.rotation_asked", extra={"by": "SIGHUP"})
            await agent.rotate(None)
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
