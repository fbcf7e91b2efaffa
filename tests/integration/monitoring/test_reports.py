from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio

from tests.integration.monitoring.prometheus import Prometheus, serving
from tests.require import require_binary

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]
START = int(datetime(2025, 10, 1, tzinfo=UTC).timestamp())
DAYS = 31
STEP_S = 300
SLOS = {
    "order-availability": 0.999,
    "order-latency": 0.99,
    "price-freshness": 0.995,
    "telemetry-ledger": 0.9999,
    "secret-freshness": 0.999,
}


def series(name: str, value: Callable[[int], float | None], labels: str = "") -> Iterator[str]:
    """A month of samples, one in five minutes, as OpenMetrics; None is no sample."""
    yield f"# TYPE {name} unknown"
    for step in range(DAYS * 24 * 3600 // STEP_S + 1):
        if (found := value(step)) is not None:
            yield f"{name}{{{labels}}} {found} {START + step * STEP_S}"


def a_month() -> Iterator[str]:
    """A hundred orders in five minutes, one of 2000 lost; prices stale for an hour of a Thursday and all weekends."""
    yield from _objectives()
    yield "# TYPE broker_orders_total unknown"
    yield from list(series("broker_orders_total", lambda step: step * 100, 'status="received"'))[1:]
    yield from list(series("broker_orders_total", lambda step: step // 20, 'status="unknown"'))[1:]
    yield from series("market:open", lambda step: float(_weekday(step) < 5))
    stale = 'slo="price-freshness"'
    yield from series("slo:bad:indicator", lambda step: float(288 <= step < 300 or _weekday(step) >= 5), stale)
    yield from _alerts()


def _objectives() -> Iterator[str]:
    yield "# TYPE slo:objective:ratio unknown"
    for name, objective in SLOS.items():

        def constant(_: int, value: float = objective) -> float:
            return value

        yield from list(series("slo:objective:ratio", constant, f'slo="{name}"'))[1:]


def _weekday(step: int) -> int:
    return datetime.fromtimestamp(START + step * STEP_S, UTC).weekday()


def _alerts() -> Iterator[str]:
    """Two pages of half an hour, one of them at night, for two pods at once."""
    yield "# TYPE ALERTS unknown"
    for minute in [*range(600, 630), *range(1500, 1530)]:
        for pod in ("a", "b"):
            labels = 'alertname="OrdersUnknown",alertstate="firing",severity="page",team="trading",namespace="broker"'
            yield f'ALERTS{{{labels},pod="{pod}"}} 1 {START + minute * 60}'


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Prometheus]:
    """A Prometheus that has October 2025."""
    place = tmp_path_factory.mktemp("reports")
    (place / "month.txt").write_text("\n".join([*a_month(), "# EOF\n"]))
    tool = require_binary("promtool")
    made = await asyncio.create_subprocess_exec(
        tool,
        *("tsdb", "create-blocks-from", "openmetrics", "--quiet", str(place / "month.txt"), str(place / "data")),
        stdout=subprocess.DEVNULL,
    )
    assert await made.wait() == 0
    (place / "prometheus.yml").write_text("{}")
    async with serving(place, "--storage.tsdb.retention.time=100y") as found:
        yield found


async def report(name: str, server: Prometheus, *arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", f"tools.monitoring.{name}", "--prometheus", server.url, *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


async def levels(server: Prometheus) -> dict[str, dict[str, Any]]:
    _, text = await report("sla", server, "--month", "2025-10", "--json")
    return {item["name"]: item for item in json.loads(text)["objectives"]}


async def test_events_are_counted_over_the_month(server: Prometheus) -> None:
    found = (await levels(server))["order-availability"]
    assert found["total"] == pytest.approx(892_800, rel=1e-3)
    assert found["achieved"] == pytest.approx(0.9995, abs=1e-6)
    assert found["budget_left"] == pytest.approx(0.5, abs=1e-3)
    assert found["coverage"] == pytest.approx(1, abs=1e-3)


async def test_time_counts_only_while_the_market_is_open(server: Prometheus) -> None:
    found = (await levels(server))["price-freshness"]
    assert found["bad"] == pytest.approx(60, abs=5)
    assert found["total"] == pytest.approx(23 * 24 * 60, abs=10)


async def test_an_objective_without_data_is_not_met(server: Prometheus) -> None:
    status, text = await report("sla", server, "--month", "2025-10")
    lines = {line.split()[0]: line for line in text.splitlines()[2:]}
    assert lines["order-availability"].endswith("met")
    assert lines["telemetry-ledger"].endswith("NO DATA")
    assert status == 1


async def test_pages_are_counted_by_service_and_episode(server: Prometheus) -> None:
    status, text = await report("alert_budget", server, "--month", "2025-10", "--json")
    (row,) = json.loads(text)["alerts"]
    assert row == {
        "alert": "OrdersUnknown",
        "severity": "page",
        "team": "trading",
        "fired": 2,
        "median_minutes": pytest.approx(33, abs=2),
        "at_night": 1,
        "short": 0,
    }
    assert json.loads(text)["pages_a_week"] == {"trading": pytest.approx(14 / 31)}
    assert status == 0


async def test_a_month_that_is_none_and_a_server_that_is_none_are_said(server: Prometheus) -> None:
    status, text = await report("sla", server, "--month", "October")
    assert (status, "write it as 2026-10" in text) == (2, True)
    nowhere = Prometheus("http://127.0.0.1:1", server.session)
    for name in ("sla", "alert_budget"):
        status, text = await report(name, nowhere, "--month", "2025-10")
        assert (status, text.startswith("no report: http://127.0.0.1:1/")) == (69, True)
