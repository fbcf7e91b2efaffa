from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.telemetry.servers import Server, collector, collector_binary, engine, fetch

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.xdist_group("search-engine")]
CONFIG = Path(__file__).resolve().parents[3] / "k8s" / "logging" / "stdout" / "config.yaml"
REQUEST_ID = "7f3c9a52-0b51-4c27-9d0e-58b7c5d1a6e2"
LINES = [
    (
        '{"timestamp": "2026-10-01T10:00:00.250000+00:00", "severity": "WARNING", "event": "secrets.revoke",'
        ' "service": "sidecar", "logger": "sidecar.secrets.audit", "outcome": "denied",'
        f' "request_id": "{REQUEST_ID}", "lease": "5f3a9c", "secret": "database"}}'
    ),
    (
        '{"timestamp": "2026-10-01T10:00:01.500000+00:00", "severity": "INFO", "event": "listening",'
        ' "service": "sidecar", "logger": "sidecar.app", "trace_id": "0af7651916cd43dd8448eb211c80319c",'
        ' "span_id": "b7ad6b7169203331", "sent": "Bearer canary-1234567890"}'
    ),
]


def test_a_line_of_stdout_becomes_a_document_parsed_redacted_and_routed(tmp_path: Path) -> None:
    pod = tmp_path / "pods" / "broker_broker-1_0c9d6c3e-8f4b-4f6a-9a1e-0d4c5b6a7f80" / "sidecar"
    pod.mkdir(parents=True)
    log = "".join(f"2026-10-01T10:00:02.000000000Z stdout F {line}\n" for line in LINES)
    (pod / "0.log").write_text(log)
    binary = collector_binary()
    with engine(tmp_path) as search:
        search.install_templates()
        with collector(tmp_path, search.url) as gateway:
            environ = {
                "POD_LOGS": str(tmp_path / "pods"),
                "STATE_DIRECTORY": str(tmp_path / "state"),
                "GATEWAY": gateway.endpoint.removeprefix("http://"),
            }
            node = Server([binary, "--config", str(CONFIG)], tmp_path / "node.log", gateway.probe, environ)
            with node:
                node.wait(lambda: len(search.documents("default", "*")) == len(LINES), "both lines are found")
        (audit,) = search.documents("default", "broker.audit")
        # What the server's own audit log calls `request.id` finds the deed.
        query = f"attributes.request_id:%22{REQUEST_ID}%22"
        found = fetch(f"{search.url}/logs-broker.audit.otel-default/_search?q={query}")
        (other,) = search.documents("default")
    assert audit["_source"]["event_name"] == "secrets.revoke"
    assert found is not None
    assert [item["_id"] for item in found["hits"]["hits"]] == [audit["_id"]]
    assert audit["_source"]["severity_number"] == 13
    assert audit["_source"]["@timestamp"] == "1790848800250.0"
    assert other["_source"]["event_name"] == "listening"
    assert other["_source"]["attributes"]["redacted"] is True
    assert other["_source"]["resource"]["attributes"]["k8s.pod.name"] == "broker-1"
    assert "canary" not in str(other)
    ids = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
    assert (other["_source"]["trace_id"], other["_source"]["span_id"]) == ids
    assert not {"trace_id", "span_id"} & other["_source"]["attributes"].keys()
