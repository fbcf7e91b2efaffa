from __future__ import annotations

import subprocess

import pytest
import yaml

from tests.deployment.rendering import KUBERNETES, ROOT, Manifest, faults, only
from tests.deployment.wiring import wiring_faults


@pytest.fixture(scope="module")
def manifests() -> tuple[Manifest, ...]:
    place = ROOT / "tests" / "deployment" / "overlays" / "persistent"
    out = subprocess.run(
        [ROOT / ".venv" / "bin" / "kubectl", "kustomize", place], check=True, capture_output=True, text=True
    )
    return tuple(item for item in yaml.safe_load_all(out.stdout) if item)


@pytest.mark.parametrize("version", KUBERNETES)
def test_it_satisfies_the_schemas_and_is_wired_well(manifests: tuple[Manifest, ...], version: str) -> None:
    assert [fault for manifest in manifests for fault in faults(manifest, version)] == []
    assert wiring_faults(manifests) == []


def test_a_stateful_set_with_a_volume_a_pod_takes_the_deployments_place(manifests: tuple[Manifest, ...]) -> None:
    assert not [item for item in manifests if item["kind"] == "Deployment"]
    spec = only(manifests, "StatefulSet", "broker")["spec"]
    claims = {item["metadata"]["name"] for item in spec["volumeClaimTemplates"]}
    volumes = {item["name"] for item in spec["template"]["spec"]["volumes"]}
    assert claims == {"sidecar-journal", "broker-state"}
    assert not claims & volumes
    mounted = {
        mount["name"]
        for item in [*spec["template"]["spec"]["initContainers"], *spec["template"]["spec"]["containers"]]
        for mount in item["volumeMounts"]
    }
    assert mounted == claims | volumes
    target = only(manifests, "HorizontalPodAutoscaler", "broker")["spec"]["scaleTargetRef"]
    assert target["kind"] == "StatefulSet"
