from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as service
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, SeverityNumber

from tests.integration.telemetry.servers import Engine, collector, collector_binary, engine, fetch

ROOT = Path(__file__).resolve().parents[3]
KIBANA = ROOT / "k8s" / "logging" / "kibana"
OBJECTS: list[dict[str, Any]] = [
    json.loads(line) for line in (KIBANA / "saved-objects.ndjson").read_text().splitlines()
]
RULES: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text()) for path in sorted((KIBANA / "rules").glob("*.json"))
}
VIEWS = {item["id"]: item["attributes"]["title"] for item in OBJECTS if item["type"] == "index-pattern"}
SEARCHES = [item for item in OBJECTS if item["type"] == "search"]
CHARTS = [
    panel["embeddableConfig"]["attributes"]
    for item in OBJECTS
    if item["type"] == "dashboard"
    for panel in json.loads(item["attributes"]["panelsJSON"])
    if panel["type"] == "lens"
]
INFO, WARNING, ERROR, FATAL = (
    SeverityNumber.SEVERITY_NUMBER_INFO,
    SeverityNumber.SEVERITY_NUMBER_WARN,
    SeverityNumber.SEVERITY_NUMBER_ERROR,
    SeverityNumber.SEVERITY_NUMBER_FATAL,
)


def record(event: str, severity: SeverityNumber.ValueType, **attributes: str) -> LogRecord:
    found = LogRecord(event_name=event, severity_number=severity, time_unix_nano=time.time_ns())
    found.attributes.extend(KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in attributes.items())
    return found


def deed(outcome: str) -> LogRecord:
    return record("secrets.revoke", INFO, logger="sidecar.secrets.audit", outcome=outcome, secret="venue", reason="x")


SEEDS = [
    record("broker.order.transition", INFO, status="filled", order_id="1"),
    record("broker.order.refused", WARNING, reason="PRICE_STALE", source="risk", order_id="2"),
    record("broker.api.error", ERROR, error_type="timeout", operation="create_order"),
    record("process.failed", FATAL, exception="Traceback"),
    record("http.sent", INFO, header="Authorization: Bearer abcdefgh12345678"),
    deed("ok"),
    *[deed("denied") for _ in range(6)],
    *[record("broker.api.error", ERROR, error_type="timeout") for _ in range(301)],
]
TOKEN = "0123456789abcdef0123456789abcdef-0123456789abcdef0123456789abcdef"
CANARIES = [
    LogRecord(
        event_name="otlp",
        severity_number=INFO,
        time_unix_nano=1,
        body=AnyValue(string_value="GET /v3/accounts/101-001-1234567-001/orders"),
        attributes=[
            KeyValue(key="account", value=AnyValue(string_value="101-001-1234567-001")),
            KeyValue(key="when", value=AnyValue(string_value="2026-11-24 and 555-123-4567")),
            KeyValue(
                key="deep",
                value=AnyValue(
                    kvlist_value=KeyValueList(values=[KeyValue(key="t", value=AnyValue(string_value=TOKEN))])
                ),
            ),
            KeyValue(
                key="list",
                value=AnyValue(array_value=ArrayValue(values=[AnyValue(string_value="hvs.CAESIJ0000canary00000000")])),
            ),
        ],
    ),
    LogRecord(
        time_unix_nano=1,
        body=AnyValue(
            string_value=json.dumps(
                {
                    "event": "stdout",
                    "url": "https://api.example.internal:443",
                    "mail": "somebody@example.internal",
                    "account": "001-011-5838423-002",
                    "password": 'canary"quoted',
                    "deep": {"sent": f"Bearer {TOKEN}", "db.password": "canary"},
                },
                separators=(",", ":"),
            )
        ),
    ),
]
"""Texts that must not be stored: tokens whole, accounts' numbers but for their ends."""
GOOD = [record("broker.order.transition", INFO, status="filled", order_id="3"), deed("ok")]


def test_files_are_those_that_the_generator_makes() -> None:
    result = subprocess.run([sys.executable, "-m", "tools.kibana", "--check"], check=False, capture_output=True)
    assert result.returncode == 0, result.stderr


def test_every_reference_of_an_object_resolves_to_one_before_it() -> None:
    seen: set[tuple[str, str]] = set()
    for item in OBJECTS:
        assert {(found["type"], found["id"]) for found in item["references"]} <= seen
        seen.add((item["type"], item["id"]))
    assert len(seen) == len(OBJECTS)


def test_every_panel_names_a_reference_that_its_dashboard_has() -> None:
    for item in OBJECTS:
        if item["type"] == "dashboard":
            names = {found["name"] for found in item["references"]}
            for panel in json.loads(item["attributes"]["panelsJSON"]):
                wanted = panel.get("panelRefName") or "indexpattern-datasource-layer-records"
                assert f"{panel['panelIndex']}:{wanted}" in names


def test_views_select_the_data_streams_of_the_templates() -> None:
    templates = ROOT / "otel-collector" / "elasticsearch"
    patterns = {
        pattern
        for name in ("broker-logs", "broker-audit")
        for pattern in json.loads((templates / f"{name}.json").read_text())["index_patterns"]
    }
    assert set(VIEWS.values()) == patterns


def test_every_rule_is_a_prometheus_alert_too_and_pages_nobody_itself() -> None:
    written = yaml.safe_load((ROOT / "k8s" / "monitoring" / "alerts" / "logs.yaml").read_text())
    alerts = {f"broker-{rule['alert'].lower()}" for group in written["groups"] for rule in group["rules"]}
    assert set(RULES) == alerts
    assert all(rule["actions"] == [] for rule in RULES.values())


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine that got the seeds, and good records in a namespace of their own, through the real collector."""
    collector_binary()
    place = tmp_path_factory.mktemp("kibana")
    with engine(place) as found:
        found.install_templates()
        with collector(place, found.url) as pipe:
            for namespace, records in (("seeded", SEEDS), ("good", GOOD), ("canaries", CANARIES)):
                send(pipe.endpoint, namespace, records)
            found.wait(lambda: len(found.documents("seeded", "*")) == len(SEEDS), "every seed is found")
            found.wait(lambda: len(found.documents("good", "*")) == len(GOOD), "every good record is found")
            found.wait(lambda: len(found.documents("canaries", "*")) == len(CANARIES), "every canary is found")
            yield found


def send(endpoint: str, namespace: str, records: list[LogRecord]) -> None:
    request = service.ExportLogsServiceRequest()
    resource = request.resource_logs.add()
    for key, value in (("service.name", "broker"), ("data_stream.namespace", namespace)):
        resource.resource.attributes.append(KeyValue(key=key, value=AnyValue(string_value=value)))
    resource.scope_logs.add().log_records.extend(records)
    with grpc.insecure_channel(endpoint.removeprefix("http://")) as channel:
        LogsServiceStub(channel).Export(request)  # type: ignore[no-untyped-call] # generated without types


def ask(search: Engine, index: str, body: dict[str, Any]) -> dict[str, Any]:
    found = fetch(f"{search.url}/{index}/_search", method="POST", body=json.dumps(body).encode())
    assert found is not None, body
    return dict(found)


def lucene(text: str) -> dict[str, Any]:
    return {"query_string": {"query": text}}


def hits(found: dict[str, Any]) -> int:
    return int(found["hits"]["total"]["value"])


real = [pytest.mark.real, pytest.mark.slow, pytest.mark.xdist_group("search-engine")]


@pytest.mark.parametrize("item", [pytest.param(item, id=item["id"], marks=real) for item in SEARCHES])
def test_a_saved_search_finds_records_with_its_columns(search: Engine, item: dict[str, Any]) -> None:
    source = json.loads(item["attributes"]["kibanaSavedObjectMeta"]["searchSourceJSON"])
    index = VIEWS[item["references"][0]["id"]]
    columns = item["attributes"]["columns"]
    body = {"query": lucene(source["query"]["query"]), "fields": columns, "track_total_hits": True}
    found = ask(search, index, body)
    assert 0 < hits(found) < len(SEEDS) + len(GOOD)
    assert any(columns[0] in hit["fields"] for hit in found["hits"]["hits"])


@pytest.mark.parametrize("chart", [pytest.param(item, id=item["title"], marks=real) for item in CHARTS])
def test_a_chart_has_data(search: Engine, chart: dict[str, Any]) -> None:
    columns = chart["state"]["datasourceStates"]["formBased"]["layers"]["records"]["columns"]
    terms = {"terms": {"field": columns["kind"]["sourceField"]}}
    index = VIEWS[chart["references"][0]["id"]]
    body = {"size": 0, "query": lucene(chart["state"]["query"]["query"]), "aggs": {"kinds": terms}}
    assert ask(search, index, body)["aggregations"]["kinds"]["buckets"]


@pytest.mark.parametrize("name", [pytest.param(name, marks=real) for name in RULES])
@pytest.mark.parametrize(("namespace", "fires"), [("seeded", True), ("good", False)])
def test_a_rule_fires_on_seeds_and_not_on_good_records(
    search: Engine, name: str, namespace: str, *, fires: bool
) -> None:
    parameters = RULES[name]["params"]
    (index,) = parameters["index"]
    body = {**json.loads(parameters["esQuery"]), "size": parameters["size"], "track_total_hits": True}
    found = ask(search, index.replace("otel-*", f"otel-{namespace}"), body)
    assert (hits(found) > parameters["threshold"][0]) == fires


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.xdist_group("search-engine")
def test_audit_records_are_in_a_data_stream_of_their_own(search: Engine) -> None:
    audit = search.documents("seeded", "broker.audit")
    assert {item["_source"]["event_name"] for item in audit} == {"secrets.revoke"}
    assert len(audit) == 7
    assert len(search.documents("seeded")) == len(SEEDS) - 7


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.xdist_group("search-engine")
def test_no_secret_is_stored_at_any_depth_and_an_account_only_in_part(search: Engine) -> None:
    found = {item["_source"]["event_name"]: item["_source"] for item in search.documents("canaries", "*")}
    stored = json.dumps(found)
    assert [text for text in (TOKEN, "canary", "1234567", "5838423") if text in stored] == []
    assert found["otlp"]["body"]["text"] == "GET /v3/accounts/101-001-*****-001/orders"
    assert found["otlp"]["attributes"]["account"] == "101-001-*****-001"
    assert found["otlp"]["attributes"]["when"] == "2026-11-24 and 555-123-4567"
    line = found["stdout"]["attributes"]
    assert (line["account"], line["deep"]["sent"]) == ("001-011-*****-002", "Bearer ***")
    assert (line["url"], line["mail"]) == ("https://api.example.internal:443", "somebody@example.internal")
    assert {item["attributes"]["redacted"] for item in found.values()} == {True}
