"""The command `broker`: without a subcommand it runs the process, with one it asks a running one."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from broker.cli.commands import COMMANDS
from pod_runtime.command import Command

if TYPE_CHECKING:
    from broker.config import Config


def _kind() -> type[Config]:
    from broker.config import Config  # noqa: PLC0415 - `--help` and the questions need not load the parts

    return Config


def _read(path: Path | None) -> Config:
    from broker.config import read_config  # noqa: PLC0415 - see _kind

    return read_config(path, os.environ)


def _text(config: Config) -> str:
    from pod_runtime.config_text import to_toml  # noqa: PLC0415 - see _kind

    return to_toml(config)


def _run(config: Config) -> int:
    from broker.app import serve  # noqa: PLC0415 - see _kind
    from pod_runtime import log as logs  # noqa: PLC0415 - see _kind
    from pod_runtime.run import run  # noqa: PLC0415 - see _kind
    from producer.trace import trace_fields  # noqa: PLC0415 - see _kind

    logs.configure("broker", config.log.level, context=trace_fields)
    for name in ("alembic", "watchfiles", "aiosqlite", "httpx2"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return run(lambda stop: serve(config, stop))


COMMAND = Command(
    name="broker",
    does="Places FX and CFD orders at OANDA, each once.",
    kind=_kind,
    read=_read,
    text=_text,
    run=_run,
    subcommands=COMMANDS,
)
main = COMMAND.group()

if __name__ == "__main__":
    main(prog_name="broker")
