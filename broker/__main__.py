"""The command `broker`: runs the process, or with a subcommand asks a running one."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from broker.cli.commands import COMMANDS
from pod_runtime import VERSION


@click.group(invoke_without_command=True, commands=COMMANDS)
@click.option("--config", "path", envvar="BROKER_CONFIG", type=click.Path(path_type=Path), help="TOML file.")
@click.option("--check-config", is_flag=True, help="Print every fault, or the effective configuration; then end.")
@click.option("--config-schema", is_flag=True, help="Print the JSON Schema of the file; then end.")
@click.version_option(VERSION, message="%(prog)s %(version)s")
@click.pass_context
def main(context: click.Context, path: Path | None, check_config: bool, config_schema: bool) -> None:
    """Places FX and CFD orders at OANDA, each once.

    Exit codes: 0 after a drain, 69 an address or directory that cannot be used, 70 a bug, 78 a configuration with
    faults, or an account with hedging.
    """
    context.obj = path
    if config_schema or context.invoked_subcommand is None:
        from pod_runtime.run import collect_seldom  # noqa: PLC0415 - subcommands and `--help` are quick without it

        collect_seldom()  # before the imports, a tenth of which would be collections that find nothing
        # FastAPI asks of each field if it is of pydantic 1, and takes the absence of that for a no: 0.1 s of import.
        sys.modules["pydantic.v1"] = None  # type: ignore[assignment]
        from broker import app  # noqa: PLC0415 - as above

        context.exit(app.print_schema() if config_schema else app.start(path, check_config=check_config))


if __name__ == "__main__":
    main(prog_name="broker")
