from __future__ import annotations

import copy
from collections.abc import Callable

import pytest

from tests.deployment.rendering import KUBERNETES, OVERLAYS, Manifest, faults, only, rendered


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("version", KUBERNETES)
def test_every_overlay_satisfies_the_schemas(overlay: str, version: str) -> None:
    assert [fault for manifest in rendered(overlay) for fault in faults(manifest, version)] == []


def misspelt_preview_service(rollout: Manifest) -> None:
    strategy = rollout["spec"]["strategy"]["blueGreen"]
    strategy["previewSvc"] = strategy.pop("previewService")


def misspelt_probe(deployment: Manifest) -> None:
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    container["livenesProbe"] = container.pop("livenessProbe")


def text_for_a_number(deployment: Manifest) -> None:
    deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = "55s"


def unknown_policy_type(policy: Manifest) -> None:
    policy["spec"]["policyType"] = policy["spec"].pop("policyTypes")


@pytest.mark.parametrize(
    ("kind", "name", "mutate"),
    [
        ("Rollout", "broker", misspelt_preview_service),
        ("Deployment", "broker", misspelt_probe),
        ("Deployment", "broker", text_for_a_number),
        ("NetworkPolicy", "broker", unknown_policy_type),
    ],
)
def test_a_mutated_manifest_is_caught(kind: str, name: str, mutate: Callable[[Manifest], None]) -> None:
    manifest = copy.deepcopy(only(rendered("production"), kind, name))
    mutate(manifest)
    assert faults(manifest, KUBERNETES[0]) != []
