from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from sidecar.__main__ import main
from sidecar.cli.commands import _url


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("127.0.0.1:8090", "http://127.0.0.1:8090"),
        ("0.0.0.0:81", "http://127.0.0.1:81"),
        (":81", "http://127.0.0.1:81"),
        ("[::]:81", "http://[::1]:81"),
        ("[::1]:81", "http://[::1]:81"),
        ("localhost:81", "http://localhost:81"),
    ],
)
def test_the_console_of_the_configuration_is_asked(address: str, url: str, tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text(f'[console]\naddress = "{address}"')
    assert _url(file, None) == url


def test_a_url_that_is_given_goes_before_the_configuration() -> None:
    assert _url(Path("/absent"), "http://x:1") == "http://x:1"


@pytest.mark.parametrize("address", ["", "127.0.0.1:0"])
def test_a_console_without_a_port_cannot_be_asked(address: str, tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text(f'[console]\naddress = "{address}"')
    found = CliRunner().invoke(main, ["--config", str(file), "status"])
    assert (found.exit_code, "give --console URL" in found.output) == (78, True)


def test_a_faulty_configuration_is_told_by_a_command_too(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("[console]\nadress = 1")
    found = CliRunner().invoke(main, ["--config", str(file), "doctor"])
    assert (found.exit_code, found.output) == (78, "console.adress: is not a setting; did you mean 'address'?\n")


@pytest.mark.parametrize("arguments", [["rotate"], ["rotate", "venue", "--all"]])
def test_rotate_takes_one_name_or_all(arguments: list[str]) -> None:
    assert CliRunner().invoke(main, arguments).exit_code == 2


def test_help_names_every_command_and_the_exit_codes() -> None:
    text = CliRunner().invoke(main, ["--help"]).output
    assert all(f"  {name} " in text for name in main.commands)
    assert "78" in text
