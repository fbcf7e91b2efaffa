"""Locked packages: what we install has a version and hashes, and no file names a registry."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
LOCKED = sorted((ROOT / "requirements").glob("*.txt"), key=lambda path: path.name)
# A package on a line of its own, its hashes on the lines below.
ENTRY = re.compile(r"^[a-z0-9][\w.\-\[\],]*==\S+ \\\n(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+", re.MULTILINE)


@pytest.mark.parametrize("path", LOCKED, ids=lambda path: path.name)
def test_each_package_has_a_version_and_its_hashes(path: Path) -> None:
    text = path.read_text()
    packages = [line for line in text.splitlines() if line and line[0] not in " #"]
    assert packages
    assert len(ENTRY.findall(text)) == len(packages)
    assert "://" not in text


@pytest.mark.parametrize(
    "path", [ROOT / "Makefile", *sorted(ROOT.glob("Dockerfile.*")), *sorted((ROOT / "tools").glob("*.sh"))]
)
def test_each_installation_checks_hashes_or_has_none_to_fetch(path: Path) -> None:
    commands = re.sub(r"\\\n", " ", path.read_text())
    installing = re.findall(r"pip\"? [^\n;&|]*\binstall\b[^\n;&|]*", commands)
    assert [text for text in installing if "--require-hashes" not in text and "--no-deps" not in text] == []
