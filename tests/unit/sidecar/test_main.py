from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pod_runtime import VERSION, log
from sidecar import process
from sidecar.__main__ import main


def call(*arguments: str | Path, environ: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(main, [str(item) for item in arguments], env=environ, prog_name="sidecar")


@pytest.fixture
def configured(tmp_path: Path) -> Path:
    place = tmp_path / "configuration.toml"
    place.write_text("")
    return place


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    place = tmp_path / "faulty.toml"
    place.write_text('colour = 1\n[log]\nlevel = "LOUD"\n' + "")
    return place


@pytest.mark.parametrize("by_option", [True, False])
def test_without_a_subcommand_the_process_runs_and_ends_with_its_code(
    configured: Path, by_option: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "run", lambda _: 42)
    monkeypatch.setattr(log, "configure", lambda *_, **__: None)
    arguments, environ = (("--config", configured), {}) if by_option else ((), {"SIDECAR_CONFIG": str(configured)})
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
    assert (found.exit_code, json.loads(found.stdout)["title"]) == (0, "Configuration of the sidecar")


def test_the_version_is_the_distributions() -> None:
    assert call("--version").stdout == f"sidecar {VERSION}\n"


def test_a_subcommand_reads_no_configuration_that_it_does_not_need(faulty: Path) -> None:
    assert call("--config", faulty, "status", "--console", "http://127.0.0.1:1").exit_code == 69


def test_values_that_may_be_secret_are_not_printed(configured: Path) -> None:
    configured.write_text('[otlp]\nheaders = { authorization = "hunter2" }\n')
    found = call("--config", configured, "--check-config")
    assert (found.exit_code, "hunter2" in found.output) == (0, False)


def test_a_template_is_not_printed(configured: Path) -> None:
    lines = (
        "[secrets]",
        'address = "http://127.0.0.1:8200"',
        "[[secrets.secrets]]",
        'name = "a"',
        'source = "kv"',
        'path = "a"',
        'files = [{ name = "a", format = "jinja2", template = "password=hunter2" }]',
    )
    configured.write_text("\n".join(lines))
    found = call("--config", configured, "--check-config")
    assert (found.exit_code, "hunter2" in found.output) == (0, False)


def test_a_file_that_everybody_may_write_to_is_warned_about(configured: Path) -> None:
    configured.chmod(0o646)
    found = call("--config", configured, "--check-config")
    assert (found.exit_code, found.stderr) == (0, f"{configured}: every user may write to it (mode 0646); chmod o-w\n")
