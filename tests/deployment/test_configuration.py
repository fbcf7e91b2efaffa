from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.deployment.rendering import OVERLAYS, ROOT, Manifest, only, rendered

REVOCATION_S = 10.0
"""For the leases and the token that the sidecar gives back."""


def config_files(overlay: str, process: str) -> list[tuple[str, str]]:
    maps: list[Manifest] = [
        item
        for item in rendered(overlay)
        if item["kind"] == "ConfigMap" and item["metadata"]["name"].startswith(f"{process}-config")
    ]
    return [(name, text) for item in maps for name, text in item["data"].items()]


def effective(overlay: str, process: str, place: Path) -> dict[str, Any]:
    """The configuration that a process has from the overlay, defaults included."""
    ((name, text),) = config_files(overlay, process)
    (place / name).write_text(text)
    command = [sys.executable, "-m", process, "--config", str(place / name), "--check-config"]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return tomllib.loads(result.stdout)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_grace_holds_every_drain_one_after_the_other(overlay: str, tmp_path: Path) -> None:
    broker, sidecar = (effective(overlay, process, tmp_path) for process in ("broker", "sidecar"))
    spec = only(rendered(overlay), "Deployment", "broker")["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    # Twice: the orders on their way, then the answers to who sent them.
    drains = 2 * broker["orders"]["drain_s"] + sum(broker[name]["drain_s"] for name in ("api", "history", "telemetry"))
    flushes = sidecar["telemetry"]["drain_s"] + sidecar["otlp"]["drain_s"] + REVOCATION_S
    needed = container["lifecycle"]["preStop"]["sleep"]["seconds"] + drains + flushes
    assert needed <= spec["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_the_broker_may_keep_fits_its_volume(overlay: str, tmp_path: Path) -> None:
    """The kubelet evicts a pod whose volume is over its limit."""
    broker = effective(overlay, "broker", tmp_path)
    spec = only(rendered(overlay), "Deployment", "broker")["spec"]["template"]["spec"]
    (limit,) = [item["emptyDir"]["sizeLimit"] for item in spec["volumes"] if item["name"] == "broker-state"]
    orders = broker["orders"]
    needed = orders["keep_bytes"] + 2 * orders["segment_bytes"] + broker["telemetry"]["spool_bytes"]
    assert limit.endswith("Gi")
    assert needed <= int(limit.removesuffix("Gi")) << 30


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("process", ["broker", "sidecar"])
def test_each_process_takes_the_configuration_that_the_overlay_mounts(
    overlay: str, process: str, tmp_path: Path
) -> None:
    ((name, text),) = config_files(overlay, process)
    (tmp_path / name).write_text(text)
    command = [sys.executable, "-m", process, "--config", str(tmp_path / name), "--check-config"]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_the_role_names_the_lease_of_each_account_of_the_configuration() -> None:
    table = tomllib.loads((ROOT / "k8s" / "base" / "broker.toml").read_text())
    accounts = [table["venue"]["account"], *table["venue"].get("further_accounts", ())]
    rules = only(rendered("production"), "Role", "broker-leases")["rules"]
    named = {verb: rule.get("resourceNames") for rule in rules for verb in rule["verbs"]}
    names = [f"{table['orders']['owner']}-{account}" for account in accounts]
    assert named == {"get": names, "update": names, "create": None}
