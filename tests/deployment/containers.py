"""The container tool of this machine, and the images that it builds from this tree."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import json
import os
import shutil
import subprocess
from functools import cache
from typing import Any

from tests.deployment.rendering import ROOT
from tests.require import missing

STAGE = "broker-sidecar.stage=build"
YOUNG = dt.timedelta(minutes=30)


def require_tool() -> str:
    """The path of docker or podman; skips where there is neither."""
    wrapper = ROOT / ".cache" / "podman" / "podman"
    for candidate in (os.environ.get("CONTAINER_TOOL"), str(wrapper), "docker"):
        if candidate and (found := shutil.which(candidate)) and _answers(found):
            return found
    missing("a container tool that runs containers", "make test-deps as root, or a docker that answers")
    raise AssertionError


@cache
def _answers(tool: str) -> bool:
    return subprocess.run([tool, "info"], check=False, capture_output=True).returncode == 0


@cache
def built(name: str) -> str:
    """The image of this tree, built once for each set of its inputs."""
    tool = require_tool()
    tag = f"test-{_inputs(name)}"
    image = f"localhost/{name}:{tag}"
    if subprocess.run([tool, "image", "inspect", image], check=False, capture_output=True).returncode == 0:
        return image
    environ = {**os.environ, "CONTAINER_TOOL": tool, "TAG": tag}
    done = subprocess.run(
        [ROOT / "tools" / "images.sh", name], check=False, capture_output=True, text=True, env=environ
    )
    assert done.returncode == 0, done.stderr
    _remove_former(tool, name, tag)
    return image


def _remove_former(tool: str, name: str, tag: str) -> None:
    """Removes the images that earlier runs built of `name`, and the stages that nothing was built on for a while.

    One image a name stays, for the next run of the same tree. A younger one may be another run's.
    """
    listed = subprocess.run(
        [tool, "images", "--format", "{{.Tag}}", f"localhost/{name}"], check=False, capture_output=True, text=True
    )
    for other in {item for item in listed.stdout.split() if item.startswith("test")} - {tag}:
        image = f"localhost/{name}:{other}"
        if _age(tool, image) > YOUNG:
            subprocess.run([tool, "rmi", image], check=False, capture_output=True)
    prune = [tool, "image", "prune", "-f", "--filter", f"label={STAGE}", "--filter", "until=2h"]
    subprocess.run(prune, check=False, capture_output=True)


def _age(tool: str, image: str) -> dt.timedelta:
    command = [tool, "image", "inspect", "--format", "{{json .Created}}", image]
    found = subprocess.run(command, check=False, capture_output=True, text=True)
    if found.returncode:
        return dt.timedelta(0)
    return dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(json.loads(found.stdout)[:19] + "+00:00")


def _inputs(name: str) -> str:
    tops = (
        "broker",
        "sidecar",
        "producer",
        "pod_runtime",
        "proto/telemetry_contract",
        "requirements",
        "otel-collector",
        "tools/commands",
    )
    files = [
        path for top in tops for path in (ROOT / top).rglob("*") if path.is_file() and "__pycache__" not in path.parts
    ]
    digest = hashlib.sha256()
    for path in [ROOT / f"Dockerfile.{name}", *sorted(files)]:
        digest.update(str(path.relative_to(ROOT)).encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def output(*arguments: str) -> str:
    """Output of the tool."""
    done = subprocess.run([require_tool(), *arguments], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


async def call(*arguments: str, check: bool = True) -> str:
    """The same without blocking the loop."""
    child = await asyncio.create_subprocess_exec(
        require_tool(), *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, error = await child.communicate()
    assert not check or child.returncode == 0, (arguments, error.decode())
    return out.decode().strip()


def run_python(image: str, program: str) -> str:
    """Runs a Python program in the image, as its user, in the way that a pod would."""
    restricted: list[Any] = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    return output(
        "run",
        "--rm",
        *restricted,
        "--network",
        "none",
        *no_healthcheck(),
        "--entrypoint",
        "/opt/venv/bin/python",
        image,
        "-c",
        program,
    )


def no_healthcheck() -> list[str]:
    """The kubelet does not read HEALTHCHECK."""
    return ["--no-healthcheck"]
