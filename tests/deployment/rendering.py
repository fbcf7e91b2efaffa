"""Rendered manifests, and the schemas that they must satisfy."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from kubernetes_validate import validate

ROOT = Path(__file__).resolve().parents[2]
OVERLAYS = ("dev", "staging", "production")
KUBERNETES = ("1.33", "1.37")
"""The lowest that native sidecars need without surprises, and the highest that the validator knows."""
SCHEMAS = Path(__file__).parent / "schemas"
Manifest = dict[str, Any]


@cache
def rendered(overlay: str) -> tuple[Manifest, ...]:
    """The manifests of an overlay, as kustomize makes them."""
    kubectl = ROOT / ".venv" / "bin" / "kubectl"
    out = subprocess.run(
        [kubectl, "kustomize", ROOT / "k8s" / "overlays" / overlay], check=True, capture_output=True, text=True
    )
    return tuple(item for item in yaml.safe_load_all(out.stdout) if item)


def faults(manifest: Manifest, version: str) -> list[str]:
    """Faults of a manifest against its schema at a version of Kubernetes; an unknown kind is a fault."""
    group = manifest["apiVersion"]
    if group.partition("/")[0].partition(".")[2] not in ("", "k8s.io") and "k8s.io" not in group:
        return _custom_faults(manifest)
    try:
        validate(manifest, version, strict=True)
    except Exception as error:  # noqa: BLE001 - the validator raises several kinds, each a fault
        return [f"{manifest['kind']}/{manifest['metadata']['name']}: {_short(error)}"]
    return []


def _custom_faults(manifest: Manifest) -> list[str]:
    name = f"{manifest['apiVersion'].replace('/', '_')}_{manifest['kind']}.json"
    schema = json.loads((SCHEMAS / name).read_text())
    found = jsonschema.Draft7Validator(schema).iter_errors(manifest)
    return [f"{manifest['kind']}/{manifest['metadata']['name']}: {_short(error)}" for error in found]


def _short(error: Exception) -> str:
    return re.sub(r"\s+", " ", str(getattr(error, "message", error)))[:300]


def pod_templates(manifests: tuple[Manifest, ...]) -> Iterator[tuple[str, Manifest]]:
    """Every pod template, with where it stands; jobs inside analysis templates too."""
    for manifest in manifests:
        where = f"{manifest['kind']}/{manifest['metadata']['name']}"
        if "template" in manifest.get("spec", {}) and "spec" in manifest["spec"]["template"]:
            yield where, manifest["spec"]["template"]
        for metric in manifest.get("spec", {}).get("metrics", ()) if manifest["kind"] == "AnalysisTemplate" else ():
            if "job" in metric["provider"]:
                yield f"{where}/{metric['name']}", metric["provider"]["job"]["spec"]["template"]


def containers(template: Manifest) -> list[Manifest]:
    """All containers of a pod, native sidecars included."""
    spec = template["spec"]
    return [*spec.get("initContainers", ()), *spec["containers"]]


def only(manifests: tuple[Manifest, ...], kind: str, name: str) -> Manifest:
    """The one manifest of a kind and name."""
    (found,) = [item for item in manifests if (item["kind"], item["metadata"]["name"]) == (kind, name)]
    return found
