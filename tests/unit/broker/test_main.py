from __future__ import annotations

import asyncio
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from broker import app
from broker.__main__ import main
from broker.orders.errors import HedgingAccountError
from pod_runtime import VERSION, log


def call(*arguments: str | Path, environ: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(main, [str(item) for item in arguments], env=environ, prog_name="broker")


@pytest.fixture
def configured(tmp_path: Path) -> Path:
    place = tmp_path / "configuration.toml"
    place.write_text('[venue]\naccount = "101-004-1-001"\n')
    return place


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    place = tmp_path / "faulty.toml"
    place.write_text('colour = 1\n[log]\nlevel = "LOUD"\n' + '[venue]\naccount = "101-004-1-001"\n')
    return place


@pytest.mark.parametrize("by_option", [True, False])
def test_without_a_subcommand_the_process_runs_and_ends_with_its_code(
    configured: Path, by_option: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "run", lambda _: 42)
    monkeypatch.setattr(log, "configure", lambda *_, **__: None)
    arguments, environ = (("--config", configured), {}) if by_option else ((), {"BROKER_CONFIG": str(configured)})
    assert call(*arguments, environ=environ).exit_code == 42


@pytest.mark.parametrize("arguments", [(), ("--check-config",)])
def test_every_fault_is_said_and_ends_it(faulty: Path, arguments: tuple[str, ...]) -> None:
    found = call("--config", faulty, *arguments)
    assert found.exit_code == 78
    assert [line.partition(":")[0] for line in found.stderr.splitlines()] == ["colour", "log.level"]


def test_the_effective_configuration_is_printed_and_nothing_runs(configured: Path) -> None:
    found = call("--config", configured, "--check-config")
    assert found.exit_code == 0
    assert tomllib.loads(found.stdout)["log"]["level"] == "INFO"


def test_the_schema_needs_no_configuration(faulty: Path) -> None:
    found = call("--config", faulty, "--config-schema")
    assert (found.exit_code, json.loads(found.stdout)["title"]) == (0, "Configuration of the broker")


def test_the_version_is_the_distributions() -> None:
    assert call("--version").stdout == f"broker {VERSION}\n"


async def test_account_that_is_not_supported_ends_the_process_as_a_fault_of_its_configuration(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def refuse(*_: object) -> None:
        raise ExceptionGroup("tasks", [HedgingAccountError("101-004-1-001")])

    monkeypatch.setattr(app, "_serve", refuse)
    nothing: Any = None
    assert await app.serve(nothing, asyncio.Event()) == 78
    assert "account 101-004-1-001 has hedging on (hedgingEnabled), which is not supported" in capsys.readouterr().err


def test_a_file_that_everybody_may_write_to_is_warned_about(configured: Path) -> None:
    configured.chmod(0o646)
    found = call("--config", configured, "--check-config")
    assert (found.exit_code, found.stderr) == (0, f"{configured}: every user may write to it (mode 0646); chmod o-w\n")
