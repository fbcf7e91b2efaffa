"""The commands that an environment gets: what they run, and their completion."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("name", "typed", "offered"),
    [("sidecar", "doc", ["plain,doctor"]), ("broker", "re", ["plain,reconcile", "plain,reduce", "plain,resume"])],
)
def test_a_command_is_completed_by_its_name(name: str, typed: str, offered: list[str], tmp_path: Path) -> None:
    (tmp_path / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (tmp_path / "python").chmod(0o755)
    shutil.copy(ROOT / "tools" / "commands" / name, tmp_path)
    asked = {f"_{name.upper()}_COMPLETE": "bash_complete", "COMP_WORDS": f"{name} {typed}", "COMP_CWORD": "1"}
    done = subprocess.run(
        [tmp_path / name],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **asked, "PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}"},
    )
    assert sorted(done.stdout.split()) == offered
