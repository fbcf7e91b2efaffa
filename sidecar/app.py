"""The sidecar, built by hand: what starts when, what is told of what, and in which order all ends."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace

import msgspec
import psutil
from aiohttp import web
from grpc import aio
from grpc_health.v1 import health_pb2_grpc

from pod_runtime.version import VERSION
from sidecar import status_facts as facts
from sidecar.config import Config
from sidecar.console.bundle import RecentLog, bundle_files
from sidecar.console.control import control_application, control_path
from sidecar.console.document import StatusDocument
from sidecar.console.server import console_application
from sidecar.console.status.builder import ProcessIdentity, StatusInputs, event_totals, ledger_section
from sidecar.console.status.sampler import AuditTimeline, StatusSampler
from sidecar.console.status.time_series import StatusSample, TimeSeries, panel_samples
from sidecar.export.exporter import OtlpExporter
from sidecar.export.status import ExportStatus, SignalStatus
from sidecar.health.conditions import HealthFacts
from sidecar.health.grpc_health import GrpcHealth
from sidecar.health.health import ChangeAges, HealthMonitor
from sidecar.health.probes import probe_application
from sidecar.ingest.producers import ProducerStatus
from sidecar.ingest.tail import TailEvent
from sidecar.metrics.ledger import EventLedger, Ledger, LogLedger
from sidecar.prometheus.page import MetricsPage
from sidecar.secrets.producers import Agent, Messenger
from sidecar.selfmetrics.export import export_measures
from sidecar.selfmetrics.health_and_secrets import health_measures, secrets_measures
from sidecar.selfmetrics.journal import journal_measures
from sidecar.selfmetrics.ledger import ledger_measures, producer_measures
from sidecar.selfmetrics.process import process_measures
from sidecar.selfmetrics.self_metrics import SelfMetrics
from sidecar.sighup import rotate_on_hangup
from sidecar.telemetry.pipeline import TelemetryPipeline
from sidecar.telemetry.resource import own_resource
from sidecar.web import Server, bind, serve_control, serve_http

log = logging.getLogger(__name__)
PARTING_POLL_S = 0.05
REJECTED_DIRECTORY = "rejected"
"""Beside the journal: records that the collector refused for good."""

_NOTHING = Ledger(events=EventLedger(), logs=LogLedger())


class Sidecar:
    """Every part of the process. `bind` first, then `run` until told to stop."""

    def __init__(
        self,
        config: Config,
        environ: Mapping[str, str],
        recent: RecentLog,
        agent: Agent | None,
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
        # The wait for producers to leave is ours (`_part`): the exporter's last flush lies between it and the
        # last checkpoint, so that what is exported then is not exported again by the next start.
        telemetry = replace(config.telemetry, drain_s=0)
        keep_logs = bool(config.otlp.endpoint) and config.otlp.logs
        self._pipeline = TelemetryPipeline(
            telemetry, clock=self._clock, services=(self._add_health,), keep_logs=keep_logs
        )
        self._exporter: OtlpExporter | None = None
        self._heartbeats, self._connections = ChangeAges(), ChangeAges()
        self._health = HealthMonitor(config.health, self, listener=self._grpc_health)
        self._sampler = StatusSampler(config.console, self)
        self._page: MetricsPage | None = None
        self._servers: list[Server] = []
        self._opened = self._listening = self._draining = False
        self._messenger = Messenger(agent, self._pipeline.producers) if agent else None

    def bind(self) -> None:
        """Takes every TCP address.

        Raises:
            AddressError: one cannot be had.
        """
        config = self._config
        self._servers.append(bind("probes", probe_application(self._health), config.health.address))
        self._servers.append(bind("metrics", self._metrics_application(), config.metrics.address))
        if config.console.address:
            hosts = frozenset(config.console.allowed_hosts)
            application = console_application(self, self._sampler.watchers, hosts)
            self._servers.append(bind("console", application, config.console.address))

    async def run(self, stop: asyncio.Event) -> None:
        """Serves until `stop`, then drains; probes and console answer until all else has ended.

        Raises:
            ExceptionGroup: of what made a part fail; OSError where a directory, socket or file is not to be had.
        """
        ended = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            for server in self._servers:
                tasks.create_task(serve_http(server, ended), name=server.name)
            tasks.create_task(self._health.run(ended), name="health")
            tasks.create_task(self._grpc_health.run(ended), name="grpc-health")
            tasks.create_task(self._sampler.run(ended), name="status-sampler")
            await self._carry(stop)
            ended.set()

    async def _carry(self, stop: asyncio.Event) -> None:
        """Secrets and telemetry beside each other; on `stop` producers part first, then the export, then the rest."""
        parted, flushed = asyncio.Event(), asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            if self._agent is not None:
                tasks.create_task(self._agent.run(parted), name="secrets")
                tasks.create_task(rotate_on_hangup(self._agent, parted), name="hangup")
            await self._pipeline.open()
            self._opened = True
            own = self._measure_ourselves()
            self._exporter = self._make_exporter(own)
            exporting = tasks.create_task(self._exporter.run(parted), name="export")
            tasks.create_task(own.run(parted), name="self-metrics")
            control = control_application(self._agent)
            place = control_path(self._config.telemetry.journal_directory)
            tasks.create_task(serve_control(control, place, parted), name="control")
            tasks.create_task(self._pipeline.serve(flushed), name="telemetry")
            await self._pipeline.wait_listening()
            self._say_listening()
            await stop.wait()
            await self._part()
            parted.set()
            await exporting
            flushed.set()
        log.info("sidecar.drained", extra={"ledger": msgspec.to_builtins(ledger_section(self._ledger()))})

    def _say_listening(self) -> None:
        self._listening = True
        self._health.refresh()
        addresses = {server.name: server.address for server in self._servers}
        log.info("listening", extra={**addresses, "socket": f"unix:{self._config.telemetry.socket}"})

    async def _part(self) -> None:
        """Waits until every producer has gone or said goodbye, at most `telemetry.drain_s`."""
        self._draining = True
        self._health.refresh()
        log.info("sidecar.draining")
        end = time.monotonic() + self._config.telemetry.drain_s
        while time.monotonic() < end and any(map(_stays, self._producers())):  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(PARTING_POLL_S)

    def _measure_ourselves(self) -> SelfMetrics:
        own = SelfMetrics(self._resource(), self._config.otlp)
        own.add(ledger_measures(self._pipeline))
        own.add(producer_measures(self._pipeline, self._clock))
        own.add(journal_measures(self._pipeline))
        own.add(export_measures(self._export_status, self._clock))
        own.add(process_measures(psutil.Process()))
        own.add(health_measures(lambda: self._health.conditions))
        if self._agent is not None:
            own.add(secrets_measures(self._agent.status))
        self._page = MetricsPage(self._pipeline.snapshot, own.registry)
        return own

    def _make_exporter(self, own: SelfMetrics) -> OtlpExporter:
        return OtlpExporter(
            self._config.otlp,
            logs=self._pipeline,
            snapshot=self._pipeline.snapshot,
            resource=self._resource(),
            clock=self._clock,
            chance=random.random,
            rejected_directory=self._config.telemetry.journal_directory.parent / REJECTED_DIRECTORY,
            observe=own.observe_request,
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
        if self._messenger is not None:
            self._messenger.look()
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
            export=facts.export_facts(self._export_status(), self._ledger().logs.queued),
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

    def _ledger(self) -> Ledger:
        return self._pipeline.ledger() if self._opened else _NOTHING

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


def _stays(producer: ProducerStatus) -> bool:
    """Whether a producer's stream is still to be waited for."""
    return bool((producer.connected and not producer.goodbye) or producer.recovery_streams)
