from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import promql_parser
import pytest
import pytest_asyncio

from devstack.stack import Stack
from devstack.status import settle
from tests.e2e.cluster_metrics import cluster_page
from tests.e2e.queries import Expression, Selection, expressions, groupings, nodes, selections
from tests.e2e.scenario import bad_day
from tests.e2e.stack_fixture import running_stack
from tests.e2e.venue_metrics import METRICS, Metric
from tests.integration.monitoring.prometheus import POD, Prometheus, running_prometheus

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.asyncio(loop_scope="module")]
ALL = list(expressions())
OUTAGE_ONLY = {
    "telemetry_dropped_total": "a producer's spool was full",
    "telemetry_events_rejected_total": "a producer broke the contract",
    "telemetry_logs_dropped_total": "the journal was full",
    "telemetry_series_overflow_total": "a label had too many values",
    "sidecar_secrets_seconds_to_expiry": "a secret that expires: this stack has KV alone",
    'broker_orders_total{status="presumed_absent"}': "a venue whose log hides an order to the horizon",
    'broker_http_requests_total{namespace=~".*",pod=~".*",status_class="5xx"}': "a fault of the order API",
    'broker_api_errors_total{error_type="not_authorized"}': "a token that the venue refuses",
}
"""Series that begin with something that this scenario cannot cause, and what would."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Prometheus]:
    """A Prometheus that has seen a bad day of both processes."""
    async with running_stack() as stack, cluster_page() as cluster, aiohttp.ClientSession() as session:
        api = {**POD, "job": "broker-api"}
        targets = {_address(stack, "metrics"): POD, _address(stack, "api"): api, cluster: {"node": "node-1"}}
        async with running_prometheus(tmp_path_factory.mktemp("prometheus"), targets) as found:
            await found.wait("broker_connection_status")
            await bad_day(stack, session)
            await settle(stack, session, deadline_s=15)
            await found.wait('count_over_time(slo:error:ratio_1h{slo="order-latency"}[1m]) > 3')
            await asyncio.sleep(3)
            yield found


def _address(stack: Stack, name: str) -> str:
    return stack.addresses[name].removeprefix("http://")


def is_excused(item: Selection) -> bool:
    return str(item) in OUTAGE_ONLY or item.name in OUTAGE_ONLY or 'slo="secret-freshness"' in item.matchers


async def test_prometheus_answers_every_expression(server: Prometheus) -> None:
    for item in ALL:
        await server.query(item.text)


async def test_every_series_that_an_expression_selects_exists(server: Prometheus) -> None:
    wanted = {found: item for item in ALL for found in selections(item.text)}
    absent = [
        f"{found} ({item.place})"
        for found, item in wanted.items()
        if not is_excused(found) and not await _series(server, found)
    ]
    assert not absent, "\n".join(sorted(absent))


async def _series(server: Prometheus, found: Selection) -> list[set[str]]:
    """The labels of each series of the last minutes that fits."""
    return [set(item["metric"]) for item in await server.query(f"last_over_time({found}[5m])")]


async def test_every_label_that_an_expression_groups_by_exists(server: Prometheus) -> None:
    absent = []
    for item in ALL:
        for labels, grouped in groupings(item.text):
            series = [names for found in grouped for names in await _series(server, found)]
            if series and not labels <= set().union(*series):
                absent.append(f"{item.place}: {labels - set().union(*series)}")
    assert not absent, "\n".join(absent)


def is_condition(item: Expression) -> bool:
    """True if an empty answer is a good one: a comparison drops what does not fit."""
    comparing = {"==", "!=", ">", "<", ">=", "<="}
    return any(isinstance(node, promql_parser.BinaryExpr) and str(node.op) in comparing for node in nodes(item.text))


async def test_every_expression_that_is_no_condition_returns_data(server: Prometheus) -> None:
    empty = [
        f"{item.place}: {item.text}"
        for item in ALL
        if not is_condition(item)
        and not any(map(is_excused, selections(item.text)))
        and not await server.query(item.text)
    ]
    assert not empty, "\n".join(empty)


async def test_every_objective_has_a_ratio_while_nothing_is_wrong(server: Prometheus) -> None:
    found = {item["metric"]["slo"] for item in await server.query("slo:error:ratio_1h")}
    assert found >= {"order-availability", "order-latency", "price-freshness", "telemetry-ledger"}


async def test_every_metric_of_trading_has_its_labels_and_moves(server: Prometheus) -> None:
    faults = [fault for metric in METRICS async for fault in _faults(server, metric)]
    assert not faults, "\n".join(faults)


async def _faults(server: Prometheus, metric: Metric) -> AsyncIterator[str]:
    place = f"{metric.number} {metric.series}"
    found = await server.query(f"max_over_time({metric.series}[10m])")
    if not found and not metric.still:
        yield f"{place}: absent"
    wanted = {*metric.labels} | ({"broker"} if metric.name.startswith("broker_") else set())
    moved = set()
    for item in found:
        labels = item["metric"]
        if not wanted <= set(labels):
            yield f"{place}: has no {wanted - set(labels)}"
        elif float(item["value"][1]) != 0:
            moved.add(tuple(labels[name] for name in metric.labels))
    for start in () if metric.still else metric.moved:
        if not any(labels[: len(start)] == start for labels in moved):
            yield f"{place}: did not move for {start}, but for {sorted(moved)}"
