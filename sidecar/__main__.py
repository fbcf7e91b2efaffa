"""The command `sidecar`: without a subcommand it runs the process, with one it asks a running one."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from pod_runtime.command import Command
from sidecar.console.cli.commands import add_commands

if TYPE_CHECKING:
    from sidecar.config import Config


def _kind() -> type[Config]:
    from sidecar.config import Config  # noqa: PLC0415 - `--help` need not load the parts

    return Config


def _read(path: Path | None) -> Config:
    from sidecar.config import read_config  # noqa: PLC0415 - see _kind

    return read_config(path, os.environ)


def _text(config: Config) -> str:
    from pod_runtime.config import effective  # noqa: PLC0415 - see _kind
    from pod_runtime.config_text import to_toml  # noqa: PLC0415 - see _kind
    from sidecar.console.bundle.bundle import redacted  # noqa: PLC0415 - see _kind

    return to_toml(redacted(effective(config)))


def _run(config: Config) -> int:
    from pod_runtime import log as logs  # noqa: PLC0415 - see _kind
    from pod_runtime.run import run  # noqa: PLC0415 - see _kind
    from sidecar.console.bundle.recent import RecentLog  # noqa: PLC0415 - see _kind
    from sidecar.process import serve  # noqa: PLC0415 - see _kind

    logs.configure("sidecar", config.log.level)
    recent = RecentLog("sidecar")
    logging.getLogger().addHandler(recent)
    return run(lambda stop: serve(config, os.environ, recent, stop))


COMMAND = Command(
    name="sidecar",
    does="Carries the telemetry, the secrets and the probes of the process beside it.",
    kind=_kind,
    read=_read,
    text=_text,
    run=_run,
)
main = COMMAND.group()
add_commands(main)

if __name__ == "__main__":
    main(prog_name="sidecar")
