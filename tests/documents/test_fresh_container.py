"""The pages followed word for word in a fresh container: a clean clone, an empty home, what the README asks for.

FRESH_CONTAINER=1 collects it (`make soak` does): it installs everything that the project needs anew.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.deployment.containers import require_tool
from tests.documents.blocks import ROOT, Block, blocks
from tests.require import require_binary

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(1800)]
IMAGE = "localhost/reader:test"
WITH_WHAT_THE_README_ASKS_FOR = """
FROM docker.io/library/python:3.11-slim-bookworm
RUN apt-get update -q && apt-get install -y -q --no-install-recommends make curl git
"""


def run(*command: str, text: str = "") -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True, input=text)
    assert done.returncode == 0, (command, done.stdout[-4000:], done.stderr[-4000:])
    return done.stdout


def contain(network: str, place: Path, *command: str) -> str:
    """Runs a command in a container that sees the clone and the blocks only."""
    mounts = [f"--volume={place}:/home/reader"]
    where = ["--workdir=/home/reader/clone", "--env=HOME=/home/reader/empty"]
    return run(require_tool(), "run", "--rm", f"--network={network}", *mounts, *where, IMAGE, *command)


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """The status of each block, and what a failed one wrote."""
    git, tool = require_binary("git"), require_tool()
    place = tmp_path_factory.mktemp("reader")
    run(git, "clone", "-q", "--depth", "1", f"file://{ROOT}", str(place / "clone"))
    (place / "empty").mkdir()
    (place / "blocks").mkdir()
    for block in blocks("sh"):
        (place / "blocks" / f"{block.name}.sh").write_text(block.text + "\n")
    run(
        tool,
        "build",
        "-q",
        "--network=host",
        "-t",
        IMAGE,
        "-f",
        "-",
        str(place / "empty"),
        text=WITH_WHAT_THE_README_ASKS_FOR,
    )
    contain("host", place, "make", "env", "test-env")  # the only step that needs a network
    said = contain("none", place, "tests/documents/follow.sh", "/home/reader/clone", "/home/reader/blocks")
    print(said)
    assert "RUN ended with 0" in said
    lines = [line.split() for line in said.splitlines() if line.startswith("BLOCK ")]
    ended = {name: status for _, name, status in lines}
    return {
        name: "" if status == "0" else f"{status}: {(place / 'blocks' / f'{name}.sh.log').read_text()[-3000:]}"
        for name, status in ended.items()
    }


@pytest.mark.parametrize("block", blocks("sh"), ids=lambda block: block.name)
def test_a_block_does_what_it_says(followed: Mapping[str, str], block: Block) -> None:
    assert followed[block.name] == ""
