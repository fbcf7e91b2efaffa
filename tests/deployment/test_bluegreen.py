from __future__ import annotations

import re
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(900)]


def test_swaps_under_load_with_a_bad_preview_fail_double_and_lose_nothing() -> None:
    command = [sys.executable, "-m", "devstack.bluegreen", "--swaps", "3", "--orders-per-s", "30"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"swap +\d: (\w+)", done.stdout) == ["promoted", "aborted", "promoted"]
    for figure in ("'failed': 0", "'doubled': 0", "'lost': 0"):
        assert figure in done.stdout
