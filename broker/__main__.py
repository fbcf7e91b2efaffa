"""The command `broker`: without a subcommand it runs the process, with one it asks a running one."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from broker.cli.commands import COMMANDS
from runtime.config import ConfigError
from runtime.run import complain

if TYPE_CHECKING:
    from broker.config import Config

EX_OK, EX_CONFIG = 0, 78


@click.group(invoke_without_command=True, commands=COMMANDS)
@click.option("--config", "path", envvar="BROKER_CONFIG", type=click.Path(path_type=Path), help="TOML file.")
@click.option("--check-config", is_flag=True, help="Print every fault, or the effective configuration; then end.")
@click.option("--config-schema", is_flag=True, help="Print the JSON Schema of the file; then end.")
@click.pass_context
def main(context: click.Context, path: Path | None, check_config: bool, config_schema: bool) -> None:
    """Places FX and CFD orders at OANDA, each once.

    Exit codes: 0 after a drain, 69 an address or directory that is not to be had, 70 a bug, 78 a configuration with
    faults.
    """
    context.obj = path
    if config_schema:
        _print_schema()
    elif context.invoked_subcommand is None:
        config = _read(path)
        sys.exit(_print_config(config) if check_config else _run(config))


def _read(path: Path | None) -> Config:
    from broker.config import read_config  # noqa: PLC0415 - `--help` and the questions need not load the parts

    try:
        return read_config(path, os.environ)
    except ConfigError as error:
        complain("\n".join(error.faults))
        sys.exit(EX_CONFIG)


def _print_schema() -> None:
    from broker.config import Config  # noqa: PLC0415 - see _read
    from runtime.config_schema import schema  # noqa: PLC0415 - see _read

    click.echo(json.dumps(schema(Config, title="Configuration of the broker"), indent=2))
    sys.exit(EX_OK)


def _print_config(config: Config) -> int:
    from runtime.config_text import to_toml  # noqa: PLC0415 - see _read

    click.echo(to_toml(config), nl=False)
    return EX_OK


def _run(config: Config) -> int:
    from broker.app import serve  # noqa: PLC0415 - see _read
    from broker.telemetry.trace import trace_fields  # noqa: PLC0415 - see _read
    from runtime import log as logs  # noqa: PLC0415 - see _read
    from runtime.run import run  # noqa: PLC0415 - see _read

    logs.configure("broker", config.log.level, context=trace_fields)
    for name in ("alembic", "watchfiles", "aiosqlite", "httpx2"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return run(lambda stop: serve(config, stop))


if __name__ == "__main__":
    main(prog_name="broker")
