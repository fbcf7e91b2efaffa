"""The analysis templates' queries on a real Prometheus: good data pass; bad, no and NaN data fail."""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from tests.deployment.analysis import holds
from tests.deployment.rendering import ROOT, only, rendered
from tests.ports import free_port
from tests.require import require_binary

pytestmark = [pytest.mark.real]
NAN = float("nan")
STEP_S, STEPS = 15, 60
Series = dict[str, Callable[[int], float]]


def constant(value: float) -> Callable[[int], float]:
    return lambda _: value


def rising(per_step: float) -> Callable[[int], float]:
    return lambda step: per_step * step


def generations(acknowledged: float) -> Series:
    pod = 'pod="p1",rollouts_pod_template_hash="green"'
    other = 'pod="p2",rollouts_pod_template_hash="green"'
    return {
        f"sidecar_secrets_generation_acknowledged{{{pod}}}": constant(acknowledged),
        f"sidecar_secrets_generation_published{{{pod}}}": constant(7),
        f"sidecar_secrets_generation_acknowledged{{{other}}}": constant(9),
        f"sidecar_secrets_generation_published{{{other}}}": constant(9),
    }


def dropped(per_step: float | None) -> Series:
    pod = 'pod="p1",rollouts_pod_template_hash="green"'
    received: Series = {f"telemetry_events_received_total{{{pod}}}": rising(50)}
    lost = constant(NAN) if per_step is not None and per_step != per_step else rising(per_step or 0)  # noqa: PLR0124
    return received if per_step is None else {**received, f"telemetry_dropped_total{{{pod}}}": lost}


def orders(*, received: float, unknown: float) -> Series:
    return {
        'broker_orders_total{pod="p1",status="received"}': rising(received),
        'broker_orders_total{pod="p1",status="unknown"}': rising(unknown),
        'broker_orders_total{pod="p1",status="presumed_absent"}': constant(0),
    }


def latency(*, fast: float, slow: float) -> Series:
    return {
        'broker_order_duration_seconds_bucket{pod="p1",le="0.5"}': rising(fast),
        'broker_order_duration_seconds_bucket{pod="p1",le="1"}': rising(fast),
        'broker_order_duration_seconds_bucket{pod="p1",le="5"}': rising(fast + slow),
        'broker_order_duration_seconds_bucket{pod="p1",le="+Inf"}': rising(fast + slow),
    }


def tried(*, good: float, bad: float) -> Series:
    labels = 'pod="p1",rollouts_pod_template_hash="green",method="POST",route="/v1/orders/test"'
    return {
        f'broker_http_requests_total{{{labels},status_class="2xx"}}': rising(good),
        f'broker_http_requests_total{{{labels},status_class="5xx"}}': rising(bad),
    }


def tried_latency(*, fast: float, slow: float) -> Series:
    labels = 'pod="p1",rollouts_pod_template_hash="green",method="POST",route="/v1/orders/test"'
    return {
        f'broker_http_request_duration_seconds_bucket{{{labels},le="1"}}': rising(fast),
        f'broker_http_request_duration_seconds_bucket{{{labels},le="5"}}': rising(fast + slow),
        f'broker_http_request_duration_seconds_bucket{{{labels},le="+Inf"}}': rising(fast + slow),
    }


CASES: dict[tuple[str, str], tuple[Series, bool]] = {
    ("preview-errors", "good"): (tried(good=30, bad=0), True),
    ("preview-errors", "bad"): (tried(good=30, bad=1), False),
    ("preview-errors", "empty"): ({}, False),
    ("preview-errors", "nan"): (tried(good=0, bad=0), False),
    ("preview-latency-p99", "good"): (tried_latency(fast=30, slow=0), True),
    ("preview-latency-p99", "bad"): (tried_latency(fast=30, slow=1), False),
    ("preview-latency-p99", "empty"): ({}, False),
    ("preview-latency-p99", "nan"): (tried_latency(fast=0, slow=0), False),
    ("secrets-fresh", "good"): (generations(7), True),
    ("secrets-fresh", "bad"): (generations(6), False),
    ("secrets-fresh", "empty"): ({}, False),
    ("secrets-fresh", "nan"): (generations(NAN), False),
    ("ledger-clean", "good"): (dropped(0), True),
    ("ledger-clean", "never-dropped"): (dropped(None), True),
    ("ledger-clean", "bad"): (dropped(3), False),
    ("ledger-clean", "empty"): ({}, False),
    ("ledger-clean", "nan"): (dropped(NAN), False),
    ("order-errors", "good"): (orders(received=300, unknown=1), True),
    ("order-errors", "bad"): (orders(received=300, unknown=30), False),
    ("order-errors", "empty"): ({}, False),
    ("order-errors", "nan"): (orders(received=0, unknown=0), False),
    ("order-latency-p99", "good"): (latency(fast=1000, slow=1), True),
    ("order-latency-p99", "bad"): (latency(fast=900, slow=100), False),
    ("order-latency-p99", "empty"): ({}, False),
    ("order-latency-p99", "nan"): (latency(fast=0, slow=0), False),
}


def metrics() -> dict[str, dict[str, Any]]:
    found = {}
    for template in ("broker-pre-promotion", "broker-post-promotion"):
        for metric in only(rendered("production"), "AnalysisTemplate", template)["spec"]["metrics"]:
            if "prometheus" in metric["provider"]:
                found[metric["name"]] = metric
    return found


def openmetrics(begin: int) -> str:
    """Every case's series in a namespace of its own, as promtool takes them."""
    families: dict[str, list[str]] = {}
    for (metric, case), (series, _) in CASES.items():
        for name, value_at in series.items():
            family, _, labels = name.partition("{")
            where = f'{family}{{namespace="{metric}-{case}",{labels}'
            lines = [f"{where} {value_at(step)} {begin + step * STEP_S}" for step in range(STEPS)]
            families.setdefault(family, []).extend(lines)
    return "".join("\n".join(lines) + "\n" for lines in families.values()) + "# EOF\n"


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], list[float]]]:
    """Answers a query as of the end of the data."""
    server, tool = require_binary("prometheus"), require_binary("promtool")
    place = tmp_path_factory.mktemp("prometheus")
    begin = int(time.time()) - 7200
    (place / "data.om").write_text(openmetrics(begin))
    command = [tool, "tsdb", "create-blocks-from", "openmetrics", str(place / "data.om"), str(place / "data")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (place / "prometheus.yml").write_text("{}")
    url = f"http://127.0.0.1:{free_port()}"
    options = [f"--config.file={place / 'prometheus.yml'}", f"--storage.tsdb.path={place / 'data'}"]
    options += [f"--web.listen-address={url.removeprefix('http://')}"]
    child = subprocess.Popen([server, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_ready(url)
        yield lambda query: _ask(url, query, begin + (STEPS - 1) * STEP_S)
    finally:
        child.terminate()
        child.wait(60)


def _wait_ready(url: str) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(f"{url}/-/ready", timeout=5):  # noqa: S310 - our own server
                return
        except (urllib.error.URLError, ConnectionError):
            assert time.monotonic() < deadline, "Prometheus did not become ready"
            time.sleep(0.05)


def _ask(url: str, query: str, when: int) -> list[float]:
    body = urllib.parse.urlencode({"query": query, "time": when}).encode()
    with urllib.request.urlopen(f"{url}/api/v1/query", data=body, timeout=10) as answer:  # noqa: S310 - our own server
        found = json.load(answer)["data"]
    assert found["resultType"] == "vector"
    return [float(item["value"][1]) for item in found["result"]]


@pytest.mark.parametrize(("metric", "case"), CASES, ids=lambda item: item)
def test_a_measurement_passes_on_good_data_only(
    metric: str, case: str, prometheus: Callable[[str], list[float]]
) -> None:
    spec = metrics()[metric]
    query = spec["provider"]["prometheus"]["query"]
    query = query.replace("{{args.namespace}}", f"{metric}-{case}").replace("{{args.latest-hash}}", "green")
    assert "{{" not in query
    assert holds(spec["successCondition"], prometheus(query)) is CASES[metric, case][1]


def test_every_metric_of_the_templates_is_tried() -> None:
    assert set(metrics()) == {metric for metric, _ in CASES}


FROM_THE_SCRAPE = {"namespace", "pod", "rollouts_pod_template_hash", "le"}


def documented() -> dict[str, set[str]]:
    """Labels of every metric on the pages that are compared with the programs."""
    found: dict[str, set[str]] = {}
    for page in ("docs/telemetry.md", "docs/reference/sidecar-metrics.md"):
        for row in re.findall(r"^\|.*\|$", (ROOT / page).read_text(), re.MULTILINE):
            names = [cell.strip().strip("`") for cell in row.strip("|").split("|")]
            labels = {label for cell in names for label in re.findall(r"[a-z_]+", cell)}
            for name in names:
                if re.fullmatch(r"(broker|sidecar|telemetry)_[a-z_]+", name):
                    found[name] = labels
    return found


def used() -> list[tuple[str, set[str]]]:
    """Metrics with the labels that the analysis and the adapter's rule ask for."""
    queries = [item["provider"]["prometheus"]["query"] for item in metrics().values()]
    rule = yaml.safe_load(only(rendered("production"), "ConfigMap", "prometheus-adapter-broker")["data"]["config.yaml"])
    queries += [item["seriesQuery"] for item in rule["rules"]]
    plain = [re.sub(r"\{\{.*?\}\}", "x", query) for query in queries]
    selectors = [found for query in plain for found in re.findall(r"([a-z_]+)\{([^}]*)\}", query)]
    return [(name.removesuffix("_bucket"), set(re.findall(r"(\w+)[!=]", inside))) for name, inside in selectors]


@pytest.mark.parametrize(("name", "labels"), used(), ids=lambda item: item if isinstance(item, str) else "")
def test_every_metric_asked_for_is_one_that_the_pod_has(name: str, labels: set[str]) -> None:
    assert name in documented()
    assert labels - FROM_THE_SCRAPE <= documented()[name]


def test_the_autoscaler_asks_for_what_the_adapters_rule_serves() -> None:
    manifests = rendered("production")
    scaler = only(manifests, "HorizontalPodAutoscaler", "broker")["spec"]["metrics"]
    asked = {item["pods"]["metric"]["name"] for item in scaler if item["type"] == "Pods"}
    rule = yaml.safe_load(only(manifests, "ConfigMap", "prometheus-adapter-broker")["data"]["config.yaml"])
    assert asked == {item["name"]["as"] for item in rule["rules"]}
