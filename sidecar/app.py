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
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import psutil
from aiohttp import web
from grpc import aio
from grpc_health.v1 import health_pb2_grpc

from pod_runtime.version import VERSION
from sidecar import status_facts as facts
from sidecar.config import SidecarConfig
from sidecar.console.bundle import RecentLog, bundle_files
from sidecar.console.control import control_application, control_path
from sidecar.console.document import StatusDocument
from sidecar.console.server import console_application
from sidecar.console.status.builder import ProcessIdentity, StatusInputs, event_totals, ledger_section
from sidecar.console.status.sampler import AuditTimeline, StatusSampler
from sidecar.console.status.time_series import StatusSample, TimeSeries, panel_samples
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
from sidecar.sighup import rotate_on_hangup
from sidecar.telemetry.resource import own_resource
from sidecar.web import Server, bind, serve_control, serve_http

if TYPE_CHECKING:
    from sidecar.secrets.agent import SecretsAgent

log = logging.getLogger(__name__)
DRAIN_POLL_S = 0.05
REJECTED_DIRECTORY = "rejected"
"""Directory beside the journal's, for records that the collector refused for good."""

# The ledger before the journal is open.
_EMPTY_LEDGER = SidecarLedger(events=EventLedger(), logs=LogLedger())


class Sidecar:
    """All parts of the process. `bind` first, then `run` until `stop`.

    Health, console and self-metrics read the other parts through it: `_facts`, `inputs`, `process_snapshot`.
    """

    def __init__(
        self,
        config: SidecarConfig,
        environ: Mapping[str, str],
        recent: RecentLog,
        agent: SecretsAgent | None,
        timeline: AuditTimeline,
    ) -> None:
        self._config = config
        self._environ = environ
        self._recent = recent
        self._agent = agent
        self._timeline = timeline
        self._clock = time.time_ns
        self._identity = ProcessIdentity(version=VERSION, pid=os.getpid(), started_ns=self._clock())
        self._grpc_health = GrpcHealth()
        # The wait for producers is ours: the exporter's last request must lie between it and the last checkpoint.
        telemetry = replace(config.telemetry, drain_s=0)
        keep_logs = bool(config.otlp.endpoint) and config.otlp.logs
        self._pipeline = TelemetryPipeline(
            telemetry,
            clock=self._clock,
            services=(self._add_health,),
            keep_logs=keep_logs,
            secrets=agent.acknowledgements if agent else None,
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
        """Bind every TCP address.

        Raises:
            AddressError: an address cannot be bound.
        """
        config = self._config
        self._servers.append(bind("probes", probe_application(self._health), config.health.address))
        self._servers.append(bind("metrics", self._metrics_application(), config.metrics.address))
        if config.console.address:
            hosts = frozenset(config.console.allowed_hosts)
            application = console_application(self, self._sampler.watchers, hosts)
            self._servers.append(bind("console", application, config.console.address))

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop`, then drain; probes and console answer until all else has ended.

        Raises:
            ExceptionGroup: the errors of a part; OSError where a directory, socket or file cannot be used.
        """
        ended = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
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
        async with asyncio.TaskGroup() as tasks:
            if self._agent is not None:
                tasks.create_task(self._agent.run(producers_left), name="secrets")
                tasks.create_task(rotate_on_hangup(self._agent, producers_left), name="hangup")
            await self._pipeline.open()
            self._opened = True
            own = self._make_self_metrics()
            self._exporter = self._make_exporter(own)
            exporting = tasks.create_task(self._exporter.run(producers_left), name="export")
            tasks.create_task(own.run(producers_left), name="self-metrics")
            control = control_application(self._agent)
            place = control_path(self._config.telemetry.journal_directory)
            tasks.create_task(serve_control(control, place, producers_left), name="control")
            tasks.create_task(self._pipeline.serve(flushed), name="telemetry")
            await self._pipeline.wait_listening()
            self._set_listening()
            await stop.wait()
            await self._await_producers()
            producers_left.set()
            # In this order: see "End" above.
            await exporting
            flushed.set()
        log.info("sidecar.drained", extra={"ledger": msgspec.to_builtins(ledger_section(self._ledger()))})

    def _set_listening(self) -> None:
        self._listening = True
        # At once, not at the next interval: kubelet asks `startupz`, and the broker waits for it to succeed.
        self._health.refresh()
        addresses = {server.name: server.address for server in self._servers}
        log.info("listening", extra={**addresses, "socket": f"unix:{self._config.telemetry.socket}"})

    async def _await_producers(self) -> None:
        """Wait until every producer has gone or said goodbye, at most `telemetry.drain_s`."""
        self._draining = True
        # At once: the pod should leave its Service before its producers leave it.
        self._health.refresh()
        log.info("sidecar.draining")
        end = time.monotonic() + self._config.telemetry.drain_s
        while time.monotonic() < end and any(map(_is_awaited, self._producers())):  # noqa: ASYNC110 - no event
            await asyncio.sleep(DRAIN_POLL_S)

    def _make_self_metrics(self) -> SelfMetrics:
        own = SelfMetrics(self, self._resource(), self._config.otlp, TABLE if self._agent else WITHOUT_SECRETS)
        self._page = MetricsPage(self._pipeline, own)
        return own

    def _make_exporter(self, own: SelfMetrics) -> OtlpExporter:
        otlp = self._config.otlp
        directory = self._config.telemetry.journal_directory.parent / REJECTED_DIRECTORY
        return OtlpExporter(
            otlp,
            logs=self._pipeline.log_queue,
            metrics=self._pipeline,
            client=CollectorClient(otlp, clock=self._clock, chance=random.random, observer=own),
            rejected=RejectedRecords(directory, otlp.rejected_bytes),
            resource=self._resource(),
            clock=self._clock,
        )

    def _resource(self) -> dict[str, str]:
        return own_resource(self._environ, version=VERSION, instance_id=self._pipeline.instance_id)

    def _add_health(self, server: aio.Server) -> None:
        health_pb2_grpc.add_HealthServicer_to_server(self._grpc_health.servicer, server)

    def _metrics_application(self) -> web.Application:
        application = web.Application()
        application.router.add_get("/metrics", self._answer_metrics)
        return application

    async def _answer_metrics(self, request: web.Request) -> web.Response:
        # The port is bound before there are figures. A page without them would show every counter as reset.
        if self._page is None:
            return web.Response(status=503, text="the journal is being read\n", headers={"Retry-After": "1"})
        return await self._page.handle(request)

    def sample(self) -> StatusSample | None:
        """Take a sample of the running counts, once the journal is open."""
        if not self._opened:
            return None
        panels = panel_samples(self._config.console.panels, self._pipeline.snapshot())
        return StatusSample(time_s=time.monotonic(), totals=event_totals(self._ledger()), panels=panels)

    def facts(self) -> HealthFacts:
        """Collect the facts by which health is judged."""
        wanted = self._config.health.producer
        producer = self._pipeline.producers.get(wanted)
        now_s = time.monotonic()
        heartbeat_s = self._heartbeats.age_s(wanted, producer.last_heartbeat_ns, now_s) if producer else None
        connection_s = self._connections.age_s(wanted, producer.changed_ns, now_s) if producer else None
        return HealthFacts(
            now_ns=self._clock(),
            draining=self._draining,
            socket_open=self._listening,
            journal_fault=facts.journal_fault(self._pipeline.journal_status()) if self._opened else None,
            secrets=facts.secrets_facts(self._agent.status() if self._agent else None),
            producer=facts.producer_facts(wanted, producer, heartbeat_s, connection_s),
            export=facts.export_facts(self._export_status()),
        )

    def process_snapshot(self) -> ProcessSnapshot:
        """All figures of this moment, for the self-metrics."""
        pipeline = self._pipeline
        return ProcessSnapshot(
            now_ns=self._clock(),
            ledger=pipeline.ledger(),
            producers=self._producers(),
            journal=pipeline.journal_status(),
            ingest=pipeline.ingest_counts(),
            series=pipeline.aggregate.series_count(),
            overflow=pipeline.aggregate.overflow,
            refused=pipeline.aggregate.refused,
            export=self._export_status(),
            conditions=self._health.conditions,
            process=ProcessUsage.of(self._process),
            secrets=self._agent.status() if self._agent else NO_SECRETS,
        )

    def inputs(self, series: TimeSeries) -> StatusInputs:
        """Collect what the parts report, for the status document."""
        return StatusInputs(
            now_ns=self._clock(),
            identity=self._identity,
            conditions=self._health.conditions,
            producers=self._producers(),
            ledger=self._ledger(),
            export=self._export_status(),
            secrets=self._agent.status() if self._agent else None,
            actions=self._timeline.latest(),
            journal=self._pipeline.journal_status() if self._opened else None,
            series=series,
            panels=self._config.console.panels,
            interval_s=self._config.console.interval_s,
        )

    def _producers(self) -> Sequence[ProducerStatus]:
        return self._pipeline.producers.all()

    def _ledger(self) -> SidecarLedger:
        return self._pipeline.ledger() if self._opened else _EMPTY_LEDGER

    def _export_status(self) -> ExportStatus:
        if self._exporter is None:
            return ExportStatus(endpoint=self._config.otlp.endpoint, logs=SignalStatus(), metrics=SignalStatus())
        return self._exporter.status()

    def status(self) -> StatusDocument:
        """Build the status document of this moment, for the console."""
        return self._sampler.status()

    def tail(self) -> AsyncIterator[TailEvent]:
        """Follow the producers' events from now on, for the console."""
        return self._pipeline.tail()

    async def bundle(self) -> dict[str, str]:
        """Collect the files of the diagnostics bundle, for the console."""
        return await bundle_files(self._config, self.status(), self._recent, self._page)


def _is_awaited(producer: ProducerStatus) -> bool:
    """True while a drain waits for the producer."""
    return bool((producer.connected and not producer.goodbye) or producer.recovery_streams)
