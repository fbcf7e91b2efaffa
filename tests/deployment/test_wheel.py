"""The wheel, installed as a user would: each of its four ways in an environment of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pod_runtime import VERSION

ROOT = Path(__file__).resolve().parents[2]
UV = Path(sys.executable).with_name("uv")
GENERAL = {"runtime", "telemetry", "tools", "devstack", "tests", "bench"}
"""Import names that another distribution may well have."""
LISTED = "import json, importlib.metadata as m; print(json.dumps([d.name for d in m.distributions()]))"

Install = Callable[[str], Path]


def run(*command: str | Path, place: Path) -> str:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(command, check=False, cwd=place, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("wheel")
    # setuptools puts into a wheel whatever an earlier build has left there, modules that are gone included.
    shutil.rmtree(ROOT / "build" / "lib", ignore_errors=True)
    run(UV, "build", "--quiet", "--wheel", "--out-dir", place, ROOT, place=place)
    (found,) = place.glob("*.whl")
    return found


@pytest.fixture
def install(wheel: Path, tmp_path: Path) -> Install:
    """Makes an environment with the wheel and an extra of it; the directory of its programs."""

    def made(extra: str) -> Path:
        run(UV, "venv", "--quiet", "--python", sys.executable, tmp_path / "env", place=tmp_path)
        asked = f"{wheel}[{extra}]" if extra else str(wheel)
        locked = ("--constraint", ROOT / "requirements" / "run.txt")
        python = tmp_path / "env" / "bin" / "python"
        run(UV, "pip", "install", "--quiet", "--python", python, *locked, asked, place=tmp_path)
        return python.parent

    return made


def test_import_names_are_no_general_words(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.partition("/")[0] for name in archive.namelist() if ".dist-info" not in name}
    assert tops == {"broker", "broker_client", "pod_runtime", "producer", "sidecar", "telemetry_contract"}
    assert not tops & GENERAL


def test_the_version_stands_in_one_place(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        assert f"\nVersion: {VERSION}\n" in archive.read(metadata).decode()


def test_pages_are_in_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {
        "broker/api/ui/static/page.html",
        "broker/api/ui/static/page.js",
        "sidecar/console/static/index.html",
    } <= names


def test_types_are_told_to_those_who_import(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        assert {"broker_client/py.typed", "producer/py.typed", "telemetry_contract/py.typed"} <= set(archive.namelist())


def test_without_an_extra_it_is_the_producer_library_alone(install: Install, tmp_path: Path) -> None:
    programs = install("")
    found = set(json.loads(run(programs / "python", "-c", LISTED, place=tmp_path)))
    assert found == {"broker-sidecar", "grpcio", "protobuf", "typing_extensions"}
    run(programs / "python", "-W", "error", "-c", "import producer", place=tmp_path)


@pytest.mark.parametrize("name", ["broker", "sidecar"])
def test_an_extra_gives_a_process_whose_command_starts(install: Install, tmp_path: Path, name: str) -> None:
    programs = install(name)
    assert run(programs / name, "--version", place=tmp_path).strip() == f"{name} {VERSION}"
    assert "--config" in run(programs / name, "--help", place=tmp_path)
    run(programs / "python", "-W", "error", "-c", f"import {name}.app, producer", place=tmp_path)


def test_the_client_needs_none_of_what_the_broker_needs(install: Install, tmp_path: Path) -> None:
    programs = install("client")
    found = set(json.loads(run(programs / "python", "-c", LISTED, place=tmp_path)))
    assert {"aiohttp", "msgspec"} <= found
    assert not found & {"fastapi", "sqlalchemy", "uvicorn", "hvac"}
    run(programs / "python", "-W", "error", "-c", "import broker_client; broker_client.BrokerClient", place=tmp_path)
