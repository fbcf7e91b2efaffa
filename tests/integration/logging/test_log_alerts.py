from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
import yaml
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as service
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, SeverityNumber

from tests.integration.monitoring.prometheus import POD, Prometheus, running_prometheus
from tests.integration.telemetry.servers import Collector, collector

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]
GOOD = [
    LogRecord(
        body=AnyValue(string_value="An order reached a status"),
        severity_number=SeverityNumber.SEVERITY_NUMBER_INFO,
        event_name="broker.order",
    ),
    LogRecord(
        body=AnyValue(
            string_value='{"severity":"INFO","event":"secrets.publish","logger":"sidecar.secrets.audit","outcome":"ok"}'
        )
    ),
]
BAD = {
    "SecretInLogs": LogRecord(body=AnyValue(string_value="sent Authorization: Bearer abcdefgh12345678")),
    "LogFatal": LogRecord(body=AnyValue(string_value='{"severity":"CRITICAL","event":"process.failed"}')),
    "LogErrorsHigh": LogRecord(
        body=AnyValue(string_value="It failed"), severity_number=SeverityNumber.SEVERITY_NUMBER_ERROR
    ),
    "AuditFailures": LogRecord(
        body=AnyValue(
            string_value='{"severity":"WARNING","event":"secrets.token.login","logger":"sidecar.secrets.audit",'
            '"outcome":"denied","service":"sidecar"}'
        )
    ),
}
"""One record that shows the fault, by alert."""


@dataclass
class Line:
    """A collector whose counters a Prometheus scrapes."""

    collector: Collector
    prometheus: Prometheus

    async def send(self, name: str, *records: LogRecord) -> None:
        request = service.ExportLogsServiceRequest()
        resource = request.resource_logs.add()
        resource.resource.attributes.append(KeyValue(key="service.name", value=AnyValue(string_value=name)))
        resource.scope_logs.add().log_records.extend(records)
        async with grpc.aio.insecure_channel(self.collector.endpoint.removeprefix("http://")) as channel:
            await LogsServiceStub(channel).Export(request)  # type: ignore[no-untyped-call] # generated without types

    async def firing(self, name: str) -> set[str]:
        found = await self.prometheus.query(f'ALERTS{{alertstate="firing",service_name="{name}"}}')
        return {item["metric"]["alertname"] for item in found}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def line(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Line]:
    """No search engine: the records wait in the queue, and are counted all the same."""
    place = tmp_path_factory.mktemp("log-alerts")
    with collector(place, "http://127.0.0.1:9") as running:
        async with running_prometheus(place / "prometheus", {running.log_metrics: POD}) as found:
            yield Line(running, found)


async def test_good_records_raise_nothing(line: Line) -> None:
    await line.send("good", *GOOD * 20)
    await line.send("canary", LogRecord(severity_number=SeverityNumber.SEVERITY_NUMBER_FATAL))
    await line.prometheus.wait('ALERTS{alertname="LogFatal",alertstate="firing",service_name="canary"}')
    assert await line.firing("good") == set()


@pytest.mark.parametrize("alert", BAD)
async def test_a_seeded_record_raises_its_alert(line: Line, alert: str) -> None:
    name = alert.lower()
    await line.send(name, *[BAD[alert]] * 2)
    await line.prometheus.wait('{__name__=~"log_.*_total",service_name="%s"}' % name)  # noqa: UP031 - braces
    await asyncio.sleep(1.5)
    await line.send(name, *[BAD[alert]] * 400)
    async with asyncio.timeout(120):
        while alert not in await line.firing(name):
            await asyncio.sleep(0.2)
    if alert != "LogFatal":  # a fatal record is an error too
        assert await line.firing(name) - {"LogErrorsHigh"} <= {alert}


async def test_every_log_alert_is_seeded() -> None:
    rules = yaml.safe_load((Path(__file__).resolve().parents[3] / "k8s/monitoring/alerts/logs.yaml").read_text())
    assert {rule["alert"] for group in rules["groups"] for rule in group["rules"]} == set(BAD)
