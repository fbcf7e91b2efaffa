from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.deployment.rendering import ROOT

KUBECTL = """#!/usr/bin/env bash
echo "$1" >>"{calls}"
case $1 in
  kustomize) exec "{kubectl}" "$@" ;;
  config) echo {context} ;;
  get) echo {namespace} ;;
  diff) echo "- old"; echo "+ new"; exit {diff} ;;
  apply) cp "${{@: -1}}" "{applied}" ;;
esac
"""
DIGEST = "sha256:" + "ab" * 32
IMAGES = {
    "IMAGE_BROKER": f"registry.example/broker@{DIGEST}",
    "IMAGE_SIDECAR": f"registry.example/sidecar@{DIGEST}",
    "IMAGE_COLLECTOR": f"registry.example/collector@{DIGEST}",
}


def deploy(
    place: Path,
    *,
    diff: int = 1,
    answer: str = "yes\n",
    overlay: str = "production",
    context: str = "test-cluster",
    namespace: str = "namespace/broker",
    images: dict[str, str] = IMAGES,
) -> tuple[int, str, list[str]]:
    calls, kubectl = place / "calls", place / "kubectl"
    text = KUBECTL.format(
        calls=calls,
        kubectl=ROOT / ".venv" / "bin" / "kubectl",
        diff=diff,
        context=context,
        namespace=namespace,
        applied=place / "applied.yaml",
    )
    kubectl.write_text(text)
    kubectl.chmod(0o755)
    calls.touch()
    done = subprocess.run(
        [ROOT / "tools" / "deploy.sh", overlay],
        check=False,
        capture_output=True,
        text=True,
        input=answer,
        env={"PATH": "/usr/bin:/bin", "KUBECTL": str(kubectl), **images},
    )
    return done.returncode, done.stdout + done.stderr, calls.read_text().split()


def test_it_shows_the_difference_before_it_asks_and_applies(tmp_path: Path) -> None:
    code, output, calls = deploy(tmp_path)
    assert (code, calls) == (0, ["kustomize", "config", "get", "diff", "apply"])
    assert output.index("+ new") < output.index("promotes it")


def test_what_is_applied_has_every_image_by_the_digest_given(tmp_path: Path) -> None:
    assert deploy(tmp_path)[0] == 0
    lines = (tmp_path / "applied.yaml").read_text().splitlines()
    images = [line.split("image: ")[1] for line in lines if line.strip().startswith("image: ")]
    assert sorted(images) == sorted([*IMAGES.values(), IMAGES["IMAGE_BROKER"]])


def test_production_by_tag_is_refused(tmp_path: Path) -> None:
    code, output, calls = deploy(tmp_path, images={"IMAGE_BROKER": IMAGES["IMAGE_BROKER"]})
    assert (code, calls) == (64, ["kustomize", "config"])
    assert "trading/sidecar:0.1.0" in output


def test_an_image_that_is_no_digest_is_refused(tmp_path: Path) -> None:
    code, output, calls = deploy(tmp_path, images={**IMAGES, "IMAGE_SIDECAR": "registry.example/sidecar:1.0"})
    assert (code, calls) == (64, [])
    assert "IMAGE_SIDECAR" in output


def test_without_a_cluster_it_says_what_would_change_and_does_nothing(tmp_path: Path) -> None:
    code, output, calls = deploy(tmp_path, context="", answer="")
    assert (code, calls) == (0, ["kustomize", "config", "kustomize"])
    assert "compared with" in output
    assert "nothing was done" in output


@pytest.mark.parametrize("answer", ["no\n", "y\n", "\n"])
def test_anything_but_yes_changes_nothing(answer: str, tmp_path: Path) -> None:
    code, _, calls = deploy(tmp_path, answer=answer)
    assert (code, calls) == (1, ["kustomize", "config", "get", "diff"])


def test_a_new_namespace_is_shown_as_all_that_would_be_created(tmp_path: Path) -> None:
    code, output, calls = deploy(tmp_path, namespace="", answer="no\n")
    assert (code, calls) == (1, ["kustomize", "config", "get"])
    assert "  Rollout/broker\n" in output


def test_a_cluster_that_cannot_say_what_would_change_is_left_alone(tmp_path: Path) -> None:
    code, output, calls = deploy(tmp_path, diff=2)
    assert (code, calls) == (2, ["kustomize", "config", "get", "diff"])
    assert "nothing was done" in output


def test_an_overlay_that_does_not_exist_is_named(tmp_path: Path) -> None:
    code, output, calls = deploy(tmp_path, answer="", overlay="prod")
    assert (code, calls) == (64, [])
    assert "production" in output
