from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from sidecar.export.settings import OtlpSettings
from sidecar.metrics.ledger import LogLedger
from sidecar.selfmetrics import self_metrics
from sidecar.selfmetrics.self_metrics import SelfMetrics
from tests.otlp_receiver import OtlpReceiver
from tests.unit.sidecar.selfmetrics.own_snapshot import OWN, FakeSource

RESOURCE = {"service.name": "sidecar", "service.instance.id": "i1"}


def shown(metrics: SelfMetrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Value of each series on the page."""
    return {(s.name, frozenset(s.labels.items())): s.value for each in metrics.collect() for s in each.samples}


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


def test_a_collection_takes_one_snapshot_for_all_rows() -> None:
    source = FakeSource()
    metrics = SelfMetrics(source, RESOURCE, OtlpSettings())
    metrics.collect()
    metrics.close()
    assert source.taken == 1


def test_each_collection_reads_the_process_anew() -> None:
    source = FakeSource()
    metrics = SelfMetrics(source, RESOURCE, OtlpSettings())
    assert shown(metrics)[key("telemetry_logs_accepted_total")] == 20
    source.snapshot = replace(OWN, ledger=replace(OWN.ledger, logs=LogLedger(accepted=21, exported=21)))
    assert shown(metrics)[key("telemetry_logs_accepted_total")] == 21
    metrics.close()


def test_requests_to_the_collector_are_a_histogram() -> None:
    metrics = SelfMetrics(FakeSource(), RESOURCE, OtlpSettings())
    metrics.observe_request("logs", "ok", 0.02)
    found = shown(metrics)
    metrics.close()
    assert found[key("telemetry_export_duration_seconds_count", signal="logs", outcome="ok")] == 1
    assert found[key("target_info", service_name="sidecar", service_instance_id="i1")] == 1


async def test_the_loop_is_measured() -> None:
    metrics = SelfMetrics(FakeSource(), RESOURCE, OtlpSettings())
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(metrics.run(stop))
        await asyncio.sleep(0.3)
        stop.set()
    found = shown(metrics)
    metrics.close()
    assert found[key("sidecar_loop_lag_seconds_count")] == 1


async def test_own_metrics_are_pushed_where_asked_for() -> None:
    async with OtlpReceiver() as receiver:
        otlp = OtlpSettings(endpoint=receiver.endpoint, own_metrics=True, metrics_interval_s=0.1)
        metrics = SelfMetrics(FakeSource(), RESOURCE, otlp)
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(metrics.run(stop))
            await receiver.wait_metrics(1)
            stop.set()
        metrics.close()
    assert receiver.metrics["telemetry.logs.accepted", ()]["value"] == 20
    assert receiver.metrics["telemetry.logs.accepted", ()]["resource"]["service.name"] == "sidecar"


async def test_a_push_that_failed_is_not_repeated_an_interval_later_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_metrics, "RETRY_S", 0.01)
    async with OtlpReceiver() as receiver:
        otlp = OtlpSettings(endpoint=receiver.endpoint, own_metrics=True, metrics_interval_s=3600.0)
        metrics = SelfMetrics(FakeSource(), RESOURCE, otlp)
        metrics._failed = True
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(metrics.run(stop))
            await receiver.wait_metrics(1)
            stop.set()
        metrics.close()
    assert not metrics._failed
