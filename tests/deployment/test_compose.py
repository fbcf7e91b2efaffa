"""The structure of compose.yaml: it says what it should. docs/how-to/deploy.md says where an engine has run it."""

from __future__ import annotations

import copy
import subprocess
import sys
from typing import Any

import compose_spec
import pytest
import yaml

from tests.deployment.rendering import ROOT
from tests.require import require_binary

TEXT = (ROOT / "compose.yaml").read_text()
FILE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
WRITES_TO_ITS_ROOT = {"elasticsearch"}


def parse(tree: dict[str, Any]) -> Any:
    return compose_spec.PyCompose.from_yaml(yaml.safe_dump(tree))


def test_it_is_a_compose_file() -> None:
    found = parse(FILE)
    found.validate()
    assert set(found.service_names()) == set(SERVICES)


@pytest.mark.parametrize(
    ("service", "key", "value"),
    [("broker", "red_only", True), ("broker", "healthcheck", {"tests": ["CMD", "x"]}), ("sidecar", "depends_on", 3)],
)
def test_a_misspelt_or_misshapen_key_is_caught(service: str, key: str, value: object) -> None:
    tree = copy.deepcopy(FILE)
    tree["services"][service][key] = value
    with pytest.raises(ValueError, match=r".+"):
        parse(tree)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_hardened_pinned_in_a_profile_and_on_loopback(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is (name not in WRITES_TO_ITS_ROOT)
    assert (service["cap_drop"], service["security_opt"]) == (["ALL"], ["no-new-privileges:true"])
    assert service["profiles"] in (["core"], ["observability"])
    assert service["image"].rpartition(":")[2] not in ("latest", service["image"])
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_both_profiles_have_what_the_stack_is_made_of() -> None:
    by_profile = {
        profile: {name for name in SERVICES if profile in SERVICES[name]["profiles"]}
        for profile in ("core", "observability")
    }
    assert by_profile["core"] == {"openbao", "vault-set-up", "simulator", "broker", "sidecar"}
    assert by_profile["observability"] >= {
        "otel-collector",
        "prometheus",
        "alertmanager",
        "grafana",
        "elasticsearch",
        "kibana",
    }
    assert SERVICES["sidecar"]["network_mode"] == "service:broker"


@pytest.mark.parametrize("name", SERVICES)
def test_what_it_mounts_and_waits_for_exists(name: str) -> None:
    service = SERVICES[name]
    for mount in service.get("volumes", ()):
        source = mount.split(":")[0]
        assert (ROOT / source).exists() if source.startswith(".") else source in FILE["volumes"], source
    for other, how in service.get("depends_on", {}).items():
        condition = how["condition"]
        assert condition != "service_healthy" or "healthcheck" in SERVICES[other]
    volumes = [mount for mount in SERVICES["broker"]["volumes"] if mount.startswith("secrets:")]
    assert volumes == ["secrets:/run/secrets/broker:ro"]


@pytest.mark.parametrize("process", ["broker", "sidecar"])
def test_each_process_takes_its_configuration(process: str) -> None:
    command = [sys.executable, "-m", process, "--config", str(ROOT / "compose" / f"{process}.toml"), "--check-config"]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_prometheus_and_alertmanager_take_theirs() -> None:
    promtool, amtool = require_binary("promtool"), require_binary("amtool")
    # The rule files lie where the container has them.
    syntax = [promtool, "check", "config", "--syntax-only", str(ROOT / "compose" / "prometheus.yml")]
    alerts = [amtool, "check-config", str(ROOT / "compose" / "alertmanager.yml")]
    for command in (syntax, alerts):
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_development_server_makes_its_certificate_where_a_directory_is() -> None:
    # bao does not make the directory of -dev-tls-cert-dir, and the volume is empty at first.
    openbao = SERVICES["openbao"]
    (place,) = [part.partition("=")[2] for part in openbao["entrypoint"] if part.startswith("-dev-tls-cert-dir=")]
    assert place in [mount.split(":")[1] for mount in openbao["volumes"]]


def test_no_volume_in_memory_has_a_size_that_podman_takes_for_a_quota() -> None:
    options = [volume["driver_opts"]["o"] for volume in FILE["volumes"].values() if volume]
    assert options == ["uid=1001,gid=1001,mode=0700"] * 4
