from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.deployment.rendering import ROOT

KUBECTL = """#!/usr/bin/env bash
echo "$1" >>"{calls}"
case $1 in
  kustomize) exec "{kubectl}" "$@" ;;
  config) echo test-cluster ;;
  diff) echo "- old"; echo "+ new"; exit {diff} ;;
esac
"""


def deploy(place: Path, *, diff: int, answer: str, overlay: str = "production") -> tuple[int, str, list[str]]:
    calls, kubectl = place / "calls", place / "kubectl"
    kubectl.write_text(KUBECTL.format(calls=calls, kubectl=ROOT / ".venv" / "bin" / "kubectl", diff=diff))
    kubectl.chmod(0o755)
    calls.touch()
    done = subprocess.run(
        [ROOT / "scripts" / "deploy.sh", overlay],
        check=False,
        capture_output=True,
        text=True,
        input=answer,
        env={"PATH": "/usr/bin:/bin", "KUBECTL": str(kubectl)},
    )
    return done.returncode, done.stdout + done.stderr, calls.read_text().split()


def test_it_shows_the_difference_before_it_asks_and_applies(tmp_path: Path) -> None:
    code, output, calls = deploy(tmp_path, diff=1, answer="yes\n")
    assert (code, calls) == (0, ["kustomize", "config", "diff", "apply"])
    assert output.index("+ new") < output.index("promotes it")


@pytest.mark.parametrize("answer", ["no\n", "y\n", "\n"])
def test_anything_but_yes_changes_nothing(answer: str, tmp_path: Path) -> None:
    code, _, calls = deploy(tmp_path, diff=1, answer=answer)
    assert (code, calls) == (1, ["kustomize", "config", "diff"])


def test_a_cluster_that_cannot_say_what_would_change_is_left_alone(tmp_path: Path) -> None:
    code, output, calls = deploy(tmp_path, diff=2, answer="yes\n")
    assert (code, calls) == (2, ["kustomize", "config", "diff"])
    assert "nothing was done" in output


def test_an_overlay_that_does_not_exist_is_named(tmp_path: Path) -> None:
    code, output, calls = deploy(tmp_path, diff=0, answer="", overlay="prod")
    assert (code, calls) == (64, [])
    assert "production" in output
