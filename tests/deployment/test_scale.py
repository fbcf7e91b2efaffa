"""The configuration of a fleet, by structure: each tier of docs/scaling.md has what the page says of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import hcl2
import yaml

ROOT = Path(__file__).resolve().parents[2]
PLACE = ROOT / "examples" / "scale"


def read(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((PLACE / name).read_text()))


def test_all_of_an_instance_goes_to_one_collector() -> None:
    router = read("router.yaml")
    exporter = router["exporters"]["loadbalancing"]
    assert (exporter["routing_key"], exporter["routing_attributes"]) == ("attributes", ["service.instance.id"])
    pipelines = router["service"]["pipelines"]
    assert {name: item["exporters"] for name, item in pipelines.items()} == {
        "metrics": ["loadbalancing"],
        "logs": ["loadbalancing"],
    }


def test_the_router_acknowledges_nothing_that_it_holds_only_in_memory() -> None:
    exporter = read("router.yaml")["exporters"]["loadbalancing"]
    assert exporter["sending_queue"] == {"enabled": False}
    assert exporter["protocol"]["otlp"]["sending_queue"] == {"enabled": False}


def test_every_part_of_a_pipeline_is_defined() -> None:
    router = read("router.yaml")
    for pipeline in router["service"]["pipelines"].values():
        for kind in ("receivers", "processors", "exporters"):
            assert set(pipeline[kind]) <= router[kind].keys()


def test_the_shards_cover_all_pods() -> None:
    for job in read("prometheus-agent.yaml")["scrape_configs"]:
        sharding = [rule for rule in job["relabel_configs"] if rule.get("action") == "hashmod"]
        assert [(rule["source_labels"], rule["modulus"]) for rule in sharding] == [(["__address__"], 8)]


def test_the_agents_call_jobs_and_pods_as_the_alerts_do() -> None:
    jobs = read("prometheus-agent.yaml")["scrape_configs"]
    rules = yaml.safe_load((ROOT / "k8s" / "monitoring" / "prometheus-rules.yaml").read_text())["groups"]
    asked = {rule["alert"]: rule["expr"] for group in rules for rule in group["rules"] if "alert" in rule}
    assert [job["job_name"] for job in jobs] == ["broker-sidecar", "broker-api"]
    assert 'job=~".*broker-sidecar.*"' in asked["SidecarDown"]
    assert 'job="broker-api"' in asked["BrokerApiUnreachable"]
    for job in jobs:
        assert {"namespace", "pod"} <= {rule.get("target_label") for rule in job["relabel_configs"]}


def test_mimir_has_room_for_the_series_of_the_page_and_half_as_many_again() -> None:
    assert read("mimir.yaml")["limits"]["max_global_series_per_user"] == 10_000 * 913 * 1.5


def test_streams_roll_over_before_a_shard_is_too_large_and_end() -> None:
    policy = json.loads((ROOT / "k8s" / "logging" / "ilm" / "broker-logs.json").read_text())["policy"]
    assert policy["phases"]["hot"]["actions"]["rollover"]["max_primary_shard_size"] == "25gb"
    assert policy["phases"]["delete"]["min_age"] == "90d"


def test_vault_has_integrated_storage_and_no_open_listener() -> None:
    vault = hcl2.loads((PLACE / "vault.hcl").read_text())
    text = json.dumps(vault)
    assert "raft" in text
    assert "tls_disable" not in text


def test_every_file_that_the_page_names_is_there() -> None:
    page = (ROOT / "docs" / "scaling.md").read_text()
    for path in PLACE.iterdir():
        assert f"examples/scale/{path.name}" in page
