from __future__ import annotations

import json
import os
import re
import subprocess
import time
from typing import Any

import pytest

from tests.deployment.containers import built, no_healthcheck, output, require_tool, run_python
from tests.deployment.rendering import ROOT

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(900)]
FILES = """
import json, os, stat
found = {"setuid": [], "writable": [], "installers": []}
programs = {"pip", "pip3", "uv", "gcc", "cc", "g++", "make", "easy_install"}
packages = {"pip", "setuptools", "ensurepip"}
for top in ("/opt", "/usr", "/bin", "/sbin", "/lib", "/etc", "/var", "/run", "/home", "/root", "/srv", "/tmp"):
    for place, directories, files in os.walk(top):
        for name in [*directories, *files]:
            path = os.path.join(place, name)
            try:
                entry = os.lstat(path)
            except OSError:
                continue
            if stat.S_ISREG(entry.st_mode) and entry.st_mode & 0o6000:
                found["setuid"].append(path)
            if top == "/opt" and not stat.S_ISLNK(entry.st_mode) and (entry.st_uid or entry.st_mode & 0o022):
                found["writable"].append(path)
            if name in (packages if stat.S_ISDIR(entry.st_mode) else programs):
                found["installers"].append(path)
print(json.dumps(found))
"""
WRITABLE = """
import json, os
found = []
for place, directories, _ in os.walk("/"):
    directories[:] = [name for name in directories if os.path.join(place, name) not in ("/proc", "/sys", "/dev")]
    if os.access(place, os.W_OK):
        found.append(place)
print(json.dumps(sorted(found)))
"""
DECLARED = {
    "broker": {"/run/secrets/broker", "/run/telemetry", "/var/lib/broker"},
    "sidecar": {"/run/secrets/broker", "/run/telemetry", "/var/lib/sidecar"},
}
SCRATCH = {"/tmp", "/var/tmp", "/run/lock"}
BUDGET_MIB = {"broker": 300, "sidecar": 240, "otel-collector": 90}
"""A tenth above what they took on 24 November 2026 (`make images`)."""
PYTHON = ("broker", "sidecar")


@pytest.fixture(scope="module", autouse=True)
def _tool() -> None:
    require_tool()


def inspected(name: str) -> dict[str, Any]:
    return dict(json.loads(output("image", "inspect", built(name)))[0])


@pytest.mark.parametrize("name", [*PYTHON, "otel-collector"])
def test_an_image_runs_as_1001_and_says_what_it_is(name: str) -> None:
    if name == "otel-collector" and not (ROOT / ".cache" / "otelcol" / "otelcol-broker").exists():
        pytest.skip("the collector distribution is not built: make test-deps, with go")
    config = inspected(name)["Config"]
    assert config["User"] == "1001:1001"
    labels = {key.removeprefix("org.opencontainers.image.") for key in config["Labels"]}
    assert labels >= {"title", "description", "version", "revision", "created", "licenses"}
    assert config["Labels"]["org.opencontainers.image.version"] == "0.1.0"
    assert re.fullmatch("sha256:[0-9a-f]{64}", config["Labels"]["org.opencontainers.image.base.digest"])
    assert config["Entrypoint"][0].startswith("/")


@pytest.mark.parametrize("name", PYTHON)
def test_the_health_check_is_a_vector_and_needs_no_shell(name: str) -> None:
    config = inspected(name)
    check = (config.get("Healthcheck") or config["Config"]["Healthcheck"])["Test"]
    assert check[:4] == ["CMD", "/opt/venv/bin/python", "-m", "pod_runtime.healthcheck"]


@pytest.mark.parametrize("name", PYTHON)
def test_nothing_is_setuid_writable_or_able_to_install(name: str) -> None:
    assert json.loads(run_python(built(name), FILES)) == {"setuid": [], "writable": [], "installers": []}


@pytest.mark.parametrize("name", PYTHON)
def test_it_may_write_where_a_volume_comes_and_nowhere_else(name: str) -> None:
    python = ["--entrypoint", "/opt/venv/bin/python"]
    found = output("run", "--rm", "--network", "none", *no_healthcheck(), *python, built(name), "-c", WRITABLE)
    assert set(json.loads(found)) - SCRATCH == DECLARED[name]


@pytest.mark.parametrize("name", BUDGET_MIB)
def test_it_stays_within_its_size(name: str) -> None:
    if name == "otel-collector" and not (ROOT / ".cache" / "otelcol" / "otelcol-broker").exists():
        pytest.skip("the collector distribution is not built: make test-deps, with go")
    assert inspected(name)["Size"] < BUDGET_MIB[name] << 20


@pytest.mark.parametrize("name", PYTHON)
def test_it_has_no_capability_and_cannot_get_one(name: str) -> None:
    status = run_python(built(name), "print(open('/proc/self/status').read())")
    found = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert (found["CapEff"], found["CapBnd"], found["NoNewPrivs"]) == ("0" * 16, "0" * 16, "1")
    assert found["Uid"].split() == ["1001"] * 4


@pytest.mark.parametrize("name", PYTHON)
def test_the_modules_come_with_their_bytecode(name: str) -> None:
    program = f"import {name}.app as module, pathlib; print(pathlib.Path(module.__cached__).exists())"
    assert run_python(built(name), program) == "True"


def test_as_process_1_it_ends_with_0_on_sigterm() -> None:
    name = f"pid1-{time.time_ns()}"
    output("run", "-d", "--name", name, "--network", "none", *no_healthcheck(), built("sidecar"))
    try:
        deadline = time.monotonic() + 120
        while '"listening"' not in output("logs", name):
            assert time.monotonic() < deadline, output("logs", name)
            time.sleep(0.1)
        output("kill", "--signal", "TERM", name)
        assert output("wait", name) == "0"
    finally:
        output("rm", "-f", name)


def test_a_release_does_not_build_on_a_tag() -> None:
    environ = {**os.environ, "RELEASE": "1", "PYTHON_BASE": "docker.io/library/python:3.11-slim-bookworm"}
    done = subprocess.run([ROOT / "tools" / "images.sh"], check=False, capture_output=True, text=True, env=environ)
    assert (done.returncode, "by digest" in done.stderr) == (64, True)
