from __future__ import annotations

import json
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deployment.rendering import KUBERNETES, ROOT, faults
from tests.integration.logging.test_provision import Fake, provision, running

PARTS = ("logging", "logging/stdout", "monitoring")
APPLY_LIMIT = 262_144
"""Bytes of an annotation: what client-side apply can carry."""


@cache
def rendered(part: str) -> tuple[dict[str, Any], ...]:
    kubectl = ROOT / ".venv" / "bin" / "kubectl"
    command = [str(kubectl), "kustomize", str(ROOT / "k8s" / part)]
    out = subprocess.run(command, check=True, capture_output=True, text=True)
    return tuple(yaml.safe_load_all(out.stdout))


def config_map(part: str, name: str) -> dict[str, Any]:
    (found,) = (item for item in rendered(part) if item["metadata"]["name"].startswith(name))
    return found


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("part", PARTS)
def test_manifests_are_what_kubernetes_takes(part: str, version: str) -> None:
    for item in rendered(part):
        assert faults(item, version) == []
        assert len(json.dumps(item)) < APPLY_LIMIT


def test_every_dashboard_is_provisioned_with_the_label_that_grafana_looks_for() -> None:
    found = config_map("monitoring", "broker-dashboards")
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    made = {path.name for path in (ROOT / "k8s" / "monitoring" / "dashboards").glob("*.json")}
    assert set(found["data"]) == made


async def test_the_job_has_everything_that_the_script_needs(tmp_path: Path) -> None:
    (job,) = (item for item in rendered("logging") if item["kind"] == "Job")
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    places = {item["name"]: tmp_path / item["mountPath"].lstrip("/") for item in container["volumeMounts"]}
    for volume in pod["volumes"]:
        if "configMap" in volume:
            mount(places[volume["name"]], volume["configMap"])
    environ = {item["name"]: tmp_path / item["value"].lstrip("/") for item in container["env"]}
    async with running(Fake()) as fake:
        status, said = await provision(
            fake.url,
            place=tmp_path / container["workingDir"].lstrip("/"),
            FILES=str(environ["FILES"]),
            TEMPLATES=str(environ["TEMPLATES"]),
        )
        mounted = fake.requests
    async with running(Fake()) as fake:
        await provision(fake.url)
    assert (status, mounted) == (0, fake.requests), said


def mount(place: Path, source: dict[str, Any]) -> None:
    """Lays a ConfigMap's items out as the kubelet does."""
    data = config_map("logging", source["name"])["data"]
    items = source.get("items") or [{"key": key, "path": key} for key in data]
    assert {item["key"] for item in items} == set(data)
    for item in items:
        path = place / item["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(data[item["key"]])
