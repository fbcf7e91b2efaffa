"""Commands that ask a running sidecar. Exit codes: 0 well, 1 not well, 69 no answer, 78 a faulty configuration.

Their actions bring aiohttp, rich and the doctor, and are imported when a command runs: the process does not carry
them in its memory, and `--help` is quick.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from pod_runtime.run import complain

# "Every interface" is no address to connect to, so the loopback of the same family stands for it.
_EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
CONSOLE = click.option(
    "--console", "url", envvar="SIDECAR_CONSOLE", help="URL of the console; by default that of the configuration."
)


def _settings(path: Path | None) -> Any:
    from pod_runtime.config import ConfigError  # noqa: PLC0415 - see the module
    from sidecar.config import read_config  # noqa: PLC0415 - see the module

    try:
        return read_config(path, os.environ)
    except ConfigError as error:
        complain("\n".join(error.faults))
        sys.exit(os.EX_CONFIG)


def _url(path: Path | None, url: str | None) -> str:
    if url:
        return url.rstrip("/")
    from pod_runtime.listener.ports import parse_address  # noqa: PLC0415 - see the module

    address = _settings(path).console.address
    host, port = parse_address(address) if address else ("", 0)
    # Port 0 is a free one, which only the running process knows.
    if not port:
        complain("console.address names no port to ask; give --console URL")
        sys.exit(os.EX_CONFIG)
    return f"http://{_EVERYWHERE.get(host, address.rpartition(':')[0])}:{port}"


@click.command(short_help="Says whether all is well, and if not why.")
@JSON
@CONSOLE
@click.option("--watch", is_flag=True, help="Go on until Ctrl-C.")
@click.pass_obj
def status(path: Path | None, as_json: bool, url: str | None, watch: bool) -> None:
    """Says whether all is well, and if not why; 0 if ready, 1 if not."""
    from sidecar.cli import actions, view  # noqa: PLC0415 - see the module

    sys.exit(actions.run(actions.show(_url(path, url), view.status_view, as_json=as_json, watch=watch)))


@click.command(short_help="Lists the secrets and where each stands.")
@JSON
@CONSOLE
@click.pass_obj
def secrets(path: Path | None, as_json: bool, url: str | None) -> None:
    """Lists the secrets, where each stands, and never a value; 0 if all are fresh, 1 if not."""
    from sidecar.cli import actions, view  # noqa: PLC0415 - see the module

    sys.exit(actions.run(actions.show(_url(path, url), view.secrets_view, part="secrets", as_json=as_json)))


@click.command(short_help="Follows the producers' events.")
@JSON
@CONSOLE
@click.option("--filter", "words", default="", help="Show events in which each of these words occurs.")
@click.option("--count", type=click.IntRange(min=1), help="End after so many events.")
@click.pass_obj
def events(path: Path | None, as_json: bool, url: str | None, words: str, count: int | None) -> None:
    """Follows the producers' events as they come."""
    from sidecar.cli import actions  # noqa: PLC0415 - see the module

    wanted = words.lower().split()
    sys.exit(actions.run(actions.follow(_url(path, url), as_json=as_json, words=wanted, count=count)))


@click.command(short_help="Names each fault, its evidence and the next command.")
@JSON
@CONSOLE
@click.pass_obj
def doctor(path: Path | None, as_json: bool, url: str | None) -> None:
    """Names what is wrong, what shows it and what to do next; 0 if nothing is, 1 if something, 69 if no answer."""
    from sidecar.cli import actions  # noqa: PLC0415 - see the module

    sys.exit(actions.run(actions.examine(_url(path, url), as_json=as_json)))


@click.command(short_help="Reads a secret again and publishes it.")
@JSON
@click.argument("name", required=False)
@click.option("--all", "everything", is_flag=True, help="Every secret.")
@click.pass_obj
def rotate(path: Path | None, name: str | None, everything: bool, as_json: bool) -> None:
    """Has a secret read again at its source and published; asks the control socket beside the journal."""
    from sidecar.cli import actions  # noqa: PLC0415 - see the module

    # No name must not mean all of them: a forgotten argument would rotate every secret.
    if bool(name) == everything:
        raise click.UsageError("name one secret, or give --all")
    directory = _settings(path).telemetry.journal_directory
    sys.exit(actions.run(actions.ask_rotation(directory, name, as_json=as_json)))


COMMANDS: Mapping[str, click.Command] = {str(item.name): item for item in (status, secrets, events, doctor, rotate)}
