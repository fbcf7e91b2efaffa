"""Actions of the commands: each asks the sidecar, prints the answer, and returns the exit code."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec

from pod_runtime.run import complain
from sidecar.cli import view
from sidecar.cli.client import RotationRefusedError, UnreachableError, follow_events, read_status, rotate
from sidecar.console.control import control_path
from sidecar.console.doctor import diagnose, unreachable
from sidecar.console.document import StatusDocument, decode

# Something is not well. `sysexits.h` has no number for that, and 1 is what `grep` and `diff` have taught scripts.
EX_FINDINGS = 1
WATCH_S = 1.0


def run(action: Coroutine[Any, Any, int]) -> int:
    """Run an action and return its exit code; Ctrl-C is the way to end a watch, and no fault."""
    try:
        return asyncio.run(action)
    except UnreachableError as error:
        complain(f"the sidecar does not answer: {error}\ntry: sidecar doctor")
        return os.EX_UNAVAILABLE
    except RotationRefusedError as error:
        complain(str(error))
        return EX_FINDINGS
    except KeyboardInterrupt:
        return os.EX_OK


async def show(
    url: str, make: Callable[[StatusDocument], view.View], *, part: str = "", as_json: bool, watch: bool = False
) -> int:
    """Show the view that `make` gives of the status; as JSON, the whole document or its `part`."""
    with view.writer(live=watch) as write:
        while True:
            answer = await read_status(url)
            shown = make(_decoded(answer))
            if as_json:
                # As it was sent, not as decoded: a newer sidecar may have keys that this command does not know.
                document = msgspec.json.decode(answer)
                print(json.dumps(document[part] if part else document), flush=True)
            else:
                write(shown)
            if not watch:
                return os.EX_OK if shown.well else EX_FINDINGS
            await asyncio.sleep(WATCH_S)


async def follow(url: str, *, as_json: bool, words: list[str], count: int | None) -> int:
    """Print events as they come that have all the words, at most `count`."""
    shown, write = 0, view.event_writer()
    async for event in follow_events(url):
        line = json.dumps(event) if as_json else view.event_line(event)
        if all(word in line.lower() for word in words):
            print(line, flush=True) if as_json else write(event)
            shown += 1
            if shown == count:
                break
    return os.EX_OK


async def examine(url: str, *, as_json: bool) -> int:
    """Show what the doctor finds; a sidecar that does not answer is a finding too."""
    code = EX_FINDINGS
    try:
        findings = diagnose(_decoded(await read_status(url)), installed_cli(shutil.which))
    except UnreachableError as error:
        findings, code = [unreachable(url, str(error))], os.EX_UNAVAILABLE
    if as_json:
        print(json.dumps([item.json() for item in findings]))
    else:
        with view.writer() as write:
            write(view.findings_view(findings))
    return code if findings else os.EX_OK


def installed_cli(which: Callable[[str], str | None]) -> str:
    """Return the command of Vault that this machine has: `vault` or `bao`; empty where it has both, or neither."""
    found = [name for name in ("bao", "vault") if which(name)]
    return found[0] if len(found) == 1 else ""


async def ask_rotation(journal_directory: Path, name: str | None, *, as_json: bool) -> int:
    """Ask for one secret to be read again, or all."""
    said = await rotate(control_path(journal_directory), name)
    print(json.dumps({"secret": name, "answer": said}) if as_json else said)
    return os.EX_OK


def _decoded(answer: bytes) -> StatusDocument:
    try:
        return decode(answer)
    except msgspec.DecodeError as error:
        raise UnreachableError(f"the answer is no status document: {error}") from error
