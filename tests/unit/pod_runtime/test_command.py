from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from pod_runtime.command import Command
from pod_runtime.config import ConfigError, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    port: int = setting(80, doc="where it listens")


def read(path: Path | None) -> Settings:
    if path is not None and path.name == "bad.toml":
        raise ConfigError(["port: must be a number", "colour: is no setting"])
    return Settings(port=80 if path is None else 81)


@click.command
@click.pass_context
def ask(context: click.Context) -> None:
    click.echo(f"asked {context.obj}")


COMMAND = Command(
    name="shop",
    does="Sells.",
    kind=lambda: Settings,
    read=read,
    text=lambda config: f"port = {config.port}\n",
    run=lambda config: config.port,
    subcommands={"ask": ask},
)


def call(*arguments: str, environ: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(COMMAND.group(), arguments, env=environ)


def test_without_a_subcommand_it_runs_and_ends_with_its_code() -> None:
    assert call().exit_code == 80


@pytest.mark.parametrize("arguments", [("--config", "good.toml"), ()])
def test_the_file_is_an_option_or_in_the_environment(arguments: tuple[str, ...]) -> None:
    environ = {} if arguments else {"SHOP_CONFIG": "good.toml"}
    assert call(*arguments, environ=environ).exit_code == 81


@pytest.mark.parametrize("arguments", [(), ("--check-config",)])
def test_faults_are_all_said_and_end_it(arguments: tuple[str, ...]) -> None:
    found = call("--config", "bad.toml", *arguments)
    assert (found.exit_code, found.stderr) == (78, "port: must be a number\ncolour: is no setting\n")


def test_the_effective_configuration_is_printed_and_nothing_runs() -> None:
    found = call("--check-config")
    assert (found.exit_code, found.stdout) == (0, "port = 80\n")


def test_the_schema_needs_no_configuration() -> None:
    found = call("--config", "bad.toml", "--config-schema")
    assert found.exit_code == 0
    assert json.loads(found.stdout)["title"] == "Configuration of the shop"


def test_a_subcommand_is_given_the_file_and_reads_nothing() -> None:
    found = call("--config", "bad.toml", "ask")
    assert (found.exit_code, found.stdout) == (0, "asked bad.toml\n")
