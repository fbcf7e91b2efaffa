"""The command `sidecar`: runs the process, or with a subcommand asks a running one."""

from __future__ import annotations

from pathlib import Path

import click

from pod_runtime import VERSION
from sidecar.cli.commands import COMMANDS


@click.group(invoke_without_command=True, commands=COMMANDS)
@click.option("--config", "path", envvar="SIDECAR_CONFIG", type=click.Path(path_type=Path), help="TOML file.")
@click.option("--check-config", is_flag=True, help="Print every fault, or the effective configuration; then end.")
@click.option("--config-schema", is_flag=True, help="Print the JSON Schema of the file; then end.")
@click.version_option(VERSION, message="%(prog)s %(version)s")
@click.pass_context
def main(context: click.Context, path: Path | None, check_config: bool, config_schema: bool) -> None:
    """Carries the telemetry, the secrets and the probes of the process beside it.

    Exit codes: 0 after a drain, 69 an address or directory that cannot be used, 70 a bug, 78 a configuration with
    faults.
    """
    context.obj = path
    if config_schema or context.invoked_subcommand is None:
        from sidecar import process  # noqa: PLC0415 - subcommands and `--help` are quick without the process's parts

        context.exit(process.print_schema() if config_schema else process.start(path, check_config=check_config))


if __name__ == "__main__":
    main(prog_name="sidecar")
