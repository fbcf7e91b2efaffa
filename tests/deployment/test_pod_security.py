from __future__ import annotations

import pytest

from tests.deployment.rendering import OVERLAYS, Manifest, containers, only, pod_templates, rendered

ALLOWED_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
TEMPLATES = [
    pytest.param(template, id=f"{overlay}:{where}")
    for overlay in OVERLAYS
    for where, template in pod_templates(rendered(overlay))
]
CONTAINERS = [
    pytest.param(container, id=f"{overlay}:{where}:{container['name']}")
    for overlay in OVERLAYS
    for where, template in pod_templates(rendered(overlay))
    for container in containers(template)
]


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_pod_is_restricted(template: Manifest) -> None:
    spec = template["spec"]
    security = spec["securityContext"]
    assert (security["runAsNonRoot"], security["runAsUser"], security["runAsGroup"]) == (True, 1001, 1001)
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    kinds = {kind for volume in spec.get("volumes", ()) for kind in volume if kind != "name"}
    assert kinds <= ALLOWED_VOLUMES


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_container_is_restricted_and_limited(container: Manifest) -> None:
    security = container["securityContext"]
    assert security == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert set(container["resources"]) == {"requests", "limits"}
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert "host" not in container.get(name, {}).get("httpGet", {})
    assert all("hostPort" not in port for port in container.get("ports", ()))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_both_containers_of_the_pod_have_the_stated_resources(overlay: str) -> None:
    template = only(rendered(overlay), "Deployment", "broker")["spec"]["template"]
    stated = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"cpu": "500m", "memory": "512Mi"}}
    assert {item["name"]: item["resources"] for item in containers(template)} == {"sidecar": stated, "broker": stated}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_vault_token_and_the_leases_are_the_sidecars_alone(overlay: str) -> None:
    template = only(rendered(overlay), "Deployment", "broker")["spec"]["template"]
    mounts = {
        container["name"]: {mount["name"]: mount.get("readOnly", False) for mount in container["volumeMounts"]}
        for container in containers(template)
    }
    assert {"vault-token", "leases"} <= set(mounts["sidecar"])
    assert not {"vault-token", "leases"} & set(mounts["broker"])
    assert (mounts["sidecar"]["secrets"], mounts["broker"]["secrets"]) == (False, True)
    volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
    assert volumes["secrets"]["emptyDir"]["medium"] == "Memory"
    (source,) = volumes["vault-token"]["projected"]["sources"]
    assert source["serviceAccountToken"] == {"audience": "vault", "expirationSeconds": 600, "path": "token"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_namespace_enforces_the_restricted_standard(overlay: str) -> None:
    labels = only(rendered(overlay), "Namespace", "broker")["metadata"]["labels"]
    assert {labels[f"pod-security.kubernetes.io/{mode}"] for mode in ("enforce", "audit", "warn")} == {"restricted"}
