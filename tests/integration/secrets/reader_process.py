"""An agent as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tomli_w

from pod_runtime.config import effective
from sidecar.secrets.settings import SecretsSettings
from tests.integration.secrets.vault import Vault

SCRIPT = Path(__file__).with_name("agent_process.py")


def written(vault: Vault, settings: SecretsSettings) -> Path:
    """The settings as a file."""
    path = vault.place / "secrets.toml"
    path.write_text(tomli_w.dumps(without_none(effective(settings))))
    return path


def without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_none(item) for key, item in value.items() if item is not None}
    return [without_none(item) for item in value] if isinstance(value, list) else value


@contextmanager
def process(vault: Vault, path: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """The agent as a process, its output in the file `log`."""
    environ = {**os.environ, "PYTHONPATH": ".:proto", "VAULT_TOKEN": "ambient-token"}
    with (vault.place / "log").open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(path), *options], stdout=log, stderr=log, env=environ
        )
    try:
        yield child
    finally:
        child.kill()
        child.wait(60)
