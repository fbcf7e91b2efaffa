"""The command of a process: without a subcommand it runs, with one it asks a running one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import click

from pod_runtime.config import ConfigError
from pod_runtime.config_schema import schema
from pod_runtime.run import complain

EX_OK, EX_CONFIG = 0, 78
EXIT_CODES = """Exit codes: 0 after a drain, 69 an address or directory that is not to be had, 70 a bug, 78 a
configuration with faults."""
Configuration = TypeVar("Configuration")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command(Generic[Configuration]):
    """What a process does with its configuration. Each part loads what it needs when called: `--help` is quick."""

    name: str
    does: str
    """A sentence for `--help`."""
    kind: Callable[[], type[Configuration]]
    read: Callable[[Path | None], Configuration]
    """Raises ConfigError."""
    text: Callable[[Configuration], str]
    """As it may be shown."""
    run: Callable[[Configuration], int]
    subcommands: Mapping[str, click.Command] = field(default_factory=dict)

    def group(self) -> click.Group:
        """The command with its options; the environment's `<NAME>_CONFIG` may say where the file is."""

        @click.group(
            invoke_without_command=True, commands=dict(self.subcommands), help=f"{self.does}\n\n{EXIT_CODES}"
        )
        @click.option(
            "--config",
            "path",
            envvar=f"{self.name.upper()}_CONFIG",
            type=click.Path(path_type=Path),
            help="TOML file.",
        )
        @click.option(
            "--check-config", is_flag=True, help="Print every fault, or the effective configuration; then end."
        )
        @click.option("--config-schema", is_flag=True, help="Print the JSON Schema of the file; then end.")
        @click.pass_context
        def main(context: click.Context, path: Path | None, check_config: bool, config_schema: bool) -> None:
            context.obj = path
            if config_schema or context.invoked_subcommand is None:
                context.exit(self._describe() if config_schema else self._begin(path, check=check_config))

        return main

    def _describe(self) -> int:
        click.echo(json.dumps(schema(self.kind(), title=f"Configuration of the {self.name}"), indent=2))
        return EX_OK

    def _begin(self, path: Path | None, *, check: bool) -> int:
        try:
            config = self.read(path)
        except ConfigError as error:
            complain("\n".join(error.faults))
            return EX_CONFIG
        if not check:
            return self.run(config)
        click.echo(self.text(config), nl=False)
        return EX_OK
