from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families as parse_text

from sidecar.prometheus.page import MetricsPage
from sidecar.prometheus.render import Format
from sidecar.telemetry.model import Snapshot
from tests.unit.sidecar.snapshots import FakeMetrics, counter, gauge, histogram, parse_openmetrics, snapshot

OPENMETRICS = {"Accept": "application/openmetrics-text;version=1.0.0"}


@pytest.fixture
def registry() -> CollectorRegistry:
    found = CollectorRegistry()
    reader = PrometheusMetricReader(registry=found, scope_info_enabled=False)
    provider = MeterProvider([reader], Resource({"service.name": "sidecar"}), shutdown_on_exit=False)
    provider.get_meter("t").create_counter("telemetry.dropped", "{event}").add(3, {"reason": "full"})
    return found


@pytest.fixture
async def client(registry: CollectorRegistry) -> AsyncIterator[TestClient[web.Request, web.Application]]:
    app = web.Application()
    app.router.add_get(
        "/metrics", MetricsPage(FakeMetrics(lambda: snapshot(broker=[counter(), histogram()])), registry).handle
    )
    async with TestClient(TestServer(app)) as found:
        yield found


async def test_the_sidecars_own_metrics_stand_beside_the_producers(
    client: TestClient[web.Request, web.Application],
) -> None:
    answer = await client.get("/metrics")
    text = await answer.text()
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = {(s.name, s.labels.get("reason")): s.value for each in parse_text(text) for s in each.samples}
    assert found["telemetry_dropped_total", "full"] == 3
    assert found["broker_orders_total", None] == 7
    assert found["target_info", None] == 1


async def test_openmetrics_ends_once(client: TestClient[web.Request, web.Application]) -> None:
    answer = await client.get("/metrics", headers=OPENMETRICS)
    text = await answer.text()
    assert answer.headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert text.count("# EOF") == 1
    names = {each.name for each in parse_openmetrics(text)}
    assert {"telemetry_dropped", "broker_orders", "broker_order_duration_seconds", "target"} <= names


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [("gzip", "gzip"), ("deflate, gzip;q=0.5", "gzip"), ("identity", None), ("gzip;q=0", None), ("", None)],
)
async def test_gzip_is_used_where_it_is_taken(
    client: TestClient[web.Request, web.Application], accepted: str, encoding: str | None
) -> None:
    answer = await client.get("/metrics", headers={"Accept-Encoding": accepted})
    assert answer.headers.get("Content-Encoding") == encoding
    assert "broker_orders_total" in await answer.text()


async def test_a_packed_page_is_the_plain_one() -> None:
    page = MetricsPage(FakeMetrics(lambda: snapshot(broker=[counter(), histogram()])))
    assert gzip.decompress(await page.render(Format.TEXT, zipped=True)) == await page.render(Format.TEXT)


async def test_a_producer_cannot_take_a_name_of_the_sidecars(registry: CollectorRegistry) -> None:
    page = MetricsPage(
        FakeMetrics(lambda: snapshot(p=[counter("telemetry.dropped", 9, ()), gauge("target.info", 5)])), registry
    )
    text = (await page.render(Format.OPENMETRICS)).decode()
    found = {s.name: s.value for each in parse_openmetrics(text) for s in each.samples}
    assert found["telemetry_dropped_total"] == 3
    assert found["telemetry_dropped_2_total"] == 9
    assert found["target_info_2"] == 5


async def test_scrapes_at_once_get_whole_pages() -> None:
    values = iter(range(1, 100))
    page = MetricsPage(FakeMetrics(lambda: snapshot(p=[counter(value=next(values)), histogram()])))
    pages = await asyncio.gather(*(page.render(Format.OPENMETRICS) for _ in range(20)))
    shown = [
        s.value
        for each in pages
        for family in parse_openmetrics(each.decode())
        for s in family.samples
        if s.name == "broker_orders_total"
    ]
    assert sorted(shown) == list(range(1, 21))


async def test_the_loop_turns_while_a_page_is_made() -> None:
    def many() -> Snapshot:
        return snapshot(p=[gauge(f"g{at}", at) for at in range(50)])

    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        counting = group.create_task(count_turns())
        await asyncio.sleep(0)
        before = turns
        await MetricsPage(FakeMetrics(many)).render(Format.TEXT)
        assert turns - before >= 50
        counting.cancel()
