from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families as parse_text

from sidecar.export.settings import OtlpSettings
from sidecar.prometheus.page import MetricsPage
from sidecar.prometheus.render import Format
from sidecar.selfmetrics.self_metrics import SelfMetrics
from tests.integration.telemetry.servers import fetch, prometheus
from tests.require import require_binary
from tests.unit.sidecar.selfmetrics.own_snapshot import FakeSource
from tests.unit.sidecar.snapshots import FakeMetrics, counter, gauge, histogram, snapshot

pytestmark = pytest.mark.real


@pytest.fixture
def page() -> MetricsPage:
    own = SelfMetrics(FakeSource(), {"service.name": "sidecar"}, OtlpSettings())
    own.observe_request("logs", "ok", 0.01)
    shown = snapshot(
        broker=[
            counter(),
            histogram(),
            histogram("broker.slippage", bounds=(-1.0, 0.0, 1.0), buckets=(1, 2, 3, 4), unit="{pip}"),
            gauge("broker.risk.utilisation", 0.5, (("limit", 'odd "name"\\\n'),), unit="1"),
            gauge("broker.orders", 1),
        ],
        other=[counter(value=8), histogram(buckets=(3, 2, 1))],
    )
    return MetricsPage(FakeMetrics(lambda: shown), own)


async def test_promtool_finds_nothing_to_say(page: MetricsPage) -> None:
    promtool = require_binary("promtool")
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=await page.render(Format.TEXT), capture_output=True, check=False
    )
    assert (checked.stderr.decode(), checked.returncode) == ("", 0)


@pytest.fixture
async def address(page: MetricsPage) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/metrics", page.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield "{}:{}".format(*runner.addresses[0])
    await runner.cleanup()


@pytest.mark.slow
async def test_prometheus_takes_every_series_and_exemplar(page: MetricsPage, address: str, tmp_path: Path) -> None:
    server, api = prometheus(tmp_path, address)

    def ask(path: str, **parameters: str) -> Any:
        answer = fetch(f"{api}/{path}?{urlencode(parameters)}")
        assert answer["status"] == "success", answer
        return answer["data"]

    def scraped() -> bool:
        return bool(ask("query", query='up{job="sidecar"} == 1')["result"])

    def look() -> tuple[Any, Any]:
        with server:
            server.wait(scraped, "a scrape that succeeded")
            everything = ask("query", query='{job="sidecar",__name__!~"up|scrape_.*"}')["result"]
            return everything, ask("query_exemplars", query="broker_orders_total", start="0", end="4000000000")

    stored, exemplars = await asyncio.to_thread(look)
    found = {name_and_labels(item["metric"]): float(item["value"][1]) for item in stored}
    wanted = {
        name_and_labels({"__name__": sample.name, **sample.labels}): sample.value
        for each in parse_text((await page.render(Format.TEXT)).decode())
        for sample in each.samples
    }
    opened = {key for key in found if dict(key)["__name__"].endswith("_created")}
    assert found.keys() - opened == wanted.keys()
    changing = {key for key in wanted if dict(key)["__name__"].startswith("process_")}
    assert {key: found[key] for key in wanted.keys() - changing} == {
        key: wanted[key] for key in wanted.keys() - changing
    }
    assert exemplars[0]["exemplars"][0]["labels"]["trace_id"] == "000102030405060708090a0b0c0d0e0f"


def name_and_labels(metric: dict[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset((key, value) for key, value in metric.items() if value and key not in {"job", "instance"})
