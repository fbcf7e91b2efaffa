"""Commands that ask a running sidecar. Exit codes: 0 well, 1 not well, 69 no answer, 78 a faulty configuration."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import click

from pod_runtime.run import complain

_EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}
"""Where to ask a server that listens on every interface."""
EX_FINDINGS = 1
WATCH_S = 1.0

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
CONSOLE = click.option(
    "--console", "url", envvar="SIDECAR_CONSOLE", help="URL of the console; by default what the configuration says."
)


def _settings(path: Path | None) -> Any:
    from pod_runtime.config import ConfigError  # noqa: PLC0415 - commands start fast without the parts
    from sidecar.config import read_config  # noqa: PLC0415 - see above

    try:
        return read_config(path, os.environ)
    except ConfigError as error:
        complain("\n".join(error.faults))
        sys.exit(os.EX_CONFIG)


def _url(path: Path | None, url: str | None) -> str:
    if url:
        return url
    from pod_runtime.ports import parse_address  # noqa: PLC0415 - see _settings

    address = _settings(path).console.address
    host, port = parse_address(address) if address else ("", 0)
    if not port:
        complain("console.address names no port to ask; give --console URL")
        sys.exit(os.EX_CONFIG)
    return f"http://{_EVERYWHERE.get(host, address.rpartition(':')[0])}:{port}"


def _ask(question: Coroutine[Any, Any, int]) -> None:
    """Runs a command; Ctrl-C is the way to end a watch, not a fault."""
    from sidecar.console.cli.client import RefusedError, UnreachableError  # noqa: PLC0415 - see _settings

    try:
        sys.exit(asyncio.run(question))
    except UnreachableError as error:
        complain(f"the sidecar does not answer: {error}\ntry: sidecar doctor")
        sys.exit(os.EX_UNAVAILABLE)
    except RefusedError as error:
        complain(str(error))
        sys.exit(EX_FINDINGS)
    except KeyboardInterrupt:
        sys.exit(os.EX_OK)


@click.command(short_help="Says whether all is well, and if not why.")
@JSON
@CONSOLE
@click.option("--watch", is_flag=True, help="Go on until Ctrl-C.")
@click.pass_obj
def status(path: Path | None, as_json: bool, url: str | None, watch: bool) -> None:
    """Says whether all is well, and if not why; 0 if ready, 1 if not."""
    from sidecar.console.cli import view  # noqa: PLC0415 - see _settings

    _ask(_show(_url(path, url), view.status_view, as_json, watch))


@click.command(short_help="Lists the secrets and where each stands.")
@JSON
@CONSOLE
@click.pass_obj
def secrets(path: Path | None, as_json: bool, url: str | None) -> None:
    """Lists the secrets, where each stands, and never a value; 0 if all are fresh, 1 if not."""
    from sidecar.console.cli import view  # noqa: PLC0415 - see _settings

    _ask(_show(_url(path, url), view.secrets_view, as_json, watch=False))


async def _show(url: str, view: Callable[[dict[str, Any]], Any], as_json: bool, watch: bool) -> int:
    from sidecar.console.cli import view as cli_view  # noqa: PLC0415 - see _settings
    from sidecar.console.cli.client import Sidecar  # noqa: PLC0415 - see _settings

    sidecar = Sidecar(url)
    with cli_view.writer(live=watch) as write:
        while True:
            shown = view(await sidecar.status())
            if as_json:
                print(json.dumps(shown.document, default=str), flush=True)
            else:
                write(shown)
            if not watch:
                return os.EX_OK if shown.well else EX_FINDINGS
            await asyncio.sleep(WATCH_S)


@click.command(short_help="Follows the producers' events.")
@JSON
@CONSOLE
@click.option("--filter", "words", default="", help="Show events in which each of these words occurs.")
@click.option("--count", type=click.IntRange(min=1), help="End after so many events.")
@click.pass_obj
def events(path: Path | None, as_json: bool, url: str | None, words: str, count: int | None) -> None:
    """Follows the producers' events as they come."""
    _ask(_follow(_url(path, url), as_json, words.lower().split(), count))


async def _follow(url: str, as_json: bool, words: list[str], count: int | None) -> int:
    from sidecar.console.cli.client import Sidecar  # noqa: PLC0415 - see _settings
    from sidecar.console.cli.view import event_line, event_writer  # noqa: PLC0415 - see _settings

    shown, write = 0, event_writer()
    async for event in Sidecar(url).events():
        line = json.dumps(event) if as_json else event_line(event)
        if all(word in line.lower() for word in words):
            print(line, flush=True) if as_json else write(event)
            shown += 1
            if shown == count:
                return os.EX_OK
    return os.EX_OK


@click.command(short_help="Names each fault, its evidence and the next command.")
@JSON
@CONSOLE
@click.pass_obj
def doctor(path: Path | None, as_json: bool, url: str | None) -> None:
    """Names what is wrong, what shows it and what to do next; 0 if nothing is, 1 if something, 69 if no answer."""
    _ask(_examine(_url(path, url), as_json))


async def _examine(url: str, as_json: bool) -> int:
    from sidecar.console.cli import view as cli_view  # noqa: PLC0415 - see _settings
    from sidecar.console.cli.client import Sidecar, UnreachableError  # noqa: PLC0415 - see _settings
    from sidecar.console.doctor.doctor import diagnose, unreachable  # noqa: PLC0415 - see _settings

    code = EX_FINDINGS
    try:
        findings = diagnose(await Sidecar(url).status())
    except UnreachableError as error:
        findings, code = [unreachable(url, str(error))], os.EX_UNAVAILABLE
    if as_json:
        print(json.dumps([item.json() for item in findings]))
    else:
        with cli_view.writer() as write:
            write(cli_view.findings_view(findings))
    return code if findings else os.EX_OK


@click.command(short_help="Reads a secret again and publishes it.")
@JSON
@click.argument("name", required=False)
@click.option("--all", "everything", is_flag=True, help="Every secret.")
@click.pass_obj
def rotate(path: Path | None, name: str | None, everything: bool, as_json: bool) -> None:
    """Has a secret read again at its source and published; asks the control socket beside the journal."""
    from sidecar.console.cli.client import rotate as ask  # noqa: PLC0415 - see _settings
    from sidecar.console.control import control_path  # noqa: PLC0415 - see _settings

    if bool(name) == everything:
        raise click.UsageError("name one secret, or give --all")
    _ask(_say(ask(control_path(_settings(path).telemetry.journal_directory), name), name, as_json))


async def _say(question: Coroutine[Any, Any, str], name: str | None, as_json: bool) -> int:
    said = await question
    print(json.dumps({"secret": name, "answer": said}) if as_json else said)
    return os.EX_OK


COMMANDS: Mapping[str, click.Command] = {str(item.name): item for item in (status, secrets, events, doctor, rotate)}
