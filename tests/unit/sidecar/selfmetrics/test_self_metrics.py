from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import psutil
from prometheus_client.parser import text_string_to_metric_families as parse_text

from sidecar.export.settings import OtlpSettings
from sidecar.export.status import ExportStatus, SignalStatus
from sidecar.ingest.producers import ProducerLedger, ProducerStatus
from sidecar.metrics.ledger import EventLedger, LogLedger, SidecarLedger
from sidecar.prometheus.page import MetricsPage
from sidecar.prometheus.render import Format
from sidecar.selfmetrics.export import export_measures
from sidecar.selfmetrics.journal import journal_measures
from sidecar.selfmetrics.ledger import ledger_measures, producer_measures
from sidecar.selfmetrics.process import process_measures
from sidecar.selfmetrics.self_metrics import SelfMetrics
from sidecar.telemetry.model import Snapshot
from tests.otlp_receiver import OtlpReceiver

NOW = 1_700_000_000_000_000_000
RESOURCE = {"service.name": "sidecar", "service.instance.id": "i1"}


@dataclass
class FakePipeline:
    producers: Any = field(
        default_factory=lambda: SimpleNamespace(
            all=lambda: [
                ProducerStatus(
                    producer_id="broker",
                    connected=True,
                    last_heartbeat_ns=NOW - 2_000_000_000,
                    ledger=ProducerLedger(
                        emitted=10, acknowledged=7, held=1, dropped=(("e", "spool_full", 2),), spool_bytes=99
                    ),
                ),
                ProducerStatus(producer_id="other"),
            ]
        )
    )

    def ledger(self) -> SidecarLedger:
        broker = EventLedger(received=9, counted=6, duplicate=1, rejected={"bad_column": 2})
        logs = LogLedger(
            accepted=20, exported=10, queued=4, rejected={"invalid_argument": 1}, dropped={("journal_full", "e"): 5}
        )
        return SidecarLedger(events=broker, logs=logs, producers={"broker": broker})

    def journal_status(self) -> Any:
        return SimpleNamespace(bytes_used=5, bytes_limit=50, segments=2, damaged_bytes=0, error="No space left")

    def series(self) -> Mapping[str, int]:
        return {"broker": 12}

    def overflow(self) -> Mapping[tuple[str, str], int]:
        return {("broker", "broker.orders"): 3}

    def refused_measurements(self) -> Mapping[tuple[str, str, str], int]:
        return {("broker", "broker.orders", "negative"): 4}

    def ingest_counts(self) -> Any:
        return SimpleNamespace(
            unknown_messages=1, malformed_messages=2, journal_waits=3, broken_rules={"second_hello": 1}
        )


def status() -> ExportStatus:
    logs = SignalStatus(enabled=True, requests=8, retries=3, in_flight=2, failing_since_ns=NOW - 5_000_000_000)
    metrics = SignalStatus(enabled=True, requests=1, exported=40, rejected={"partial_success": 2})
    return ExportStatus(endpoint="http://c:4317", logs=logs, metrics=metrics)


async def shown(metrics: SelfMetrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = (await MetricsPage(lambda: Snapshot(time_ns=NOW), metrics.registry).render(Format.TEXT)).decode()
    return {(s.name, frozenset(s.labels.items())): s.value for each in parse_text(text) for s in each.samples}


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


async def test_every_place_of_both_ledgers_is_a_series() -> None:
    metrics = SelfMetrics(RESOURCE, OtlpSettings())
    metrics.add([*ledger_measures(FakePipeline()), *producer_measures(FakePipeline(), lambda: NOW)])
    found = await shown(metrics)
    metrics.close()
    broker = {"producer": "broker"}
    assert (
        found.items()
        >= {
            key("telemetry_events_received_total", **broker): 9,
            key("telemetry_events_counted_total", **broker): 6,
            key("telemetry_events_duplicate_total", **broker): 1,
            key("telemetry_events_rejected_total", **broker, reason="bad_column"): 2,
            key("telemetry_logs_accepted_total"): 20,
            key("telemetry_logs_exported_total"): 10,
            key("telemetry_logs_queued"): 4,
            key("telemetry_logs_rejected_total", reason="invalid_argument"): 1,
            key("telemetry_logs_dropped_total", reason="journal_full", event="e"): 5,
            key("telemetry_producer_emitted_total", **broker): 10,
            key("telemetry_producer_acknowledged_total", **broker): 7,
            key("telemetry_producer_held", **broker): 1,
            key("telemetry_dropped_total", **broker, reason="spool_full", event="e"): 2,
            key("telemetry_producer_spool_size_bytes", **broker): 99,
            key("telemetry_producer_connected", **broker): 1,
            key("telemetry_producer_connected", producer="other"): 0,
            key("telemetry_producer_heartbeat_age_seconds", **broker): 2.0,
        }.items()
    )


async def test_the_journal_the_series_and_the_exporter_are_shown() -> None:
    metrics = SelfMetrics(RESOURCE, OtlpSettings())
    metrics.add([*journal_measures(FakePipeline()), *export_measures(status, lambda: NOW)])
    metrics.observe_request("logs", "ok", 0.02)
    found = await shown(metrics)
    metrics.close()
    assert (
        found.items()
        >= {
            key("telemetry_journal_size_bytes"): 5,
            key("telemetry_journal_failing"): 1,
            key("telemetry_series", producer="broker"): 12,
            key("telemetry_series_overflow_total", producer="broker", instrument="broker.orders"): 3,
            key(
                "telemetry_measurements_refused_total",
                producer="broker",
                instrument="broker.orders",
                reason="negative",
            ): 4,
            key("telemetry_messages_malformed_total"): 2,
            key("telemetry_streams_refused_total", rule="second_hello"): 1,
            key("telemetry_export_requests_total", signal="logs"): 8,
            key("telemetry_export_retries_total", signal="logs"): 3,
            key("telemetry_export_failing_seconds", signal="logs"): 5.0,
            key("telemetry_export_failing_seconds", signal="metrics"): 0.0,
            key("telemetry_export_points_total"): 40,
            key("telemetry_export_points_rejected_total", reason="partial_success"): 2,
            key("telemetry_export_duration_seconds_count", signal="logs", outcome="ok"): 1,
            key("target_info", service_name="sidecar", service_instance_id="i1"): 1,
        }.items()
    )


async def test_the_process_and_its_loop_are_measured() -> None:
    metrics = SelfMetrics(RESOURCE, OtlpSettings())
    metrics.add(process_measures(psutil.Process()))
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(metrics.run(stop))
        await asyncio.sleep(0.3)
        stop.set()
    found = await shown(metrics)
    metrics.close()
    assert found[key("process_cpu_time_seconds_total", cpu_mode="user")] > 0
    assert found[key("process_memory_usage_bytes")] > 10_000_000
    assert found[key("process_open_fds")] > 2
    assert found[key("sidecar_loop_lag_seconds_count")] == 1


async def test_own_metrics_are_pushed_where_asked_for() -> None:
    async with OtlpReceiver() as receiver:
        metrics = SelfMetrics(
            RESOURCE, OtlpSettings(endpoint=receiver.endpoint, own_metrics=True, metrics_interval_s=0.1)
        )
        metrics.add(ledger_measures(FakePipeline()))
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(metrics.run(stop))
            await receiver.wait_metrics(1)
            stop.set()
        metrics.close()
    assert receiver.metrics["telemetry.logs.accepted", ()]["value"] == 20
    assert receiver.metrics["telemetry.logs.accepted", ()]["resource"]["service.name"] == "sidecar"
