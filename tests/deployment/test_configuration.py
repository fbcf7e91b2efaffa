from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.deployment.rendering import OVERLAYS, Manifest, rendered


def config_files(overlay: str, process: str) -> list[tuple[str, str]]:
    maps: list[Manifest] = [
        item
        for item in rendered(overlay)
        if item["kind"] == "ConfigMap" and item["metadata"]["name"].startswith(f"{process}-config")
    ]
    return [(name, text) for item in maps for name, text in item["data"].items()]


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("process", ["broker", "sidecar"])
def test_each_process_takes_the_configuration_that_the_overlay_mounts(
    overlay: str, process: str, tmp_path: Path
) -> None:
    ((name, text),) = config_files(overlay, process)
    (tmp_path / name).write_text(text)
    command = [sys.executable, "-m", process, "--config", str(tmp_path / name), "--check-config"]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
