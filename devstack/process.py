"""A child process that ends with its parent, logs to a file and drains on demand."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1  # prctl(2)
_LIBC = ctypes.CDLL(None, use_errno=True)


class ProcessError(Exception):
    """A child ended, or did not come up; the text says which and shows the end of its log."""


def _end_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@dataclass(slots=True)
class Child:
    """A running child. `stop` ends it; `log` holds what it wrote."""

    name: str
    process: asyncio.subprocess.Process
    log: Path
    begins: int = 0
    """Place in the log where its own words begin, behind those of the one before it."""

    @property
    def ended(self) -> bool:
        """True if it has exited."""
        return self.process.returncode is not None

    def last_lines(self, count: int = 12) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-count:])

    def check(self) -> None:
        """Raises ProcessError where it has exited."""
        if self.ended:
            raise ProcessError(f"{self.name} ended with {self.process.returncode}:\n{self.last_lines()}")

    async def stop(self, grace_s: float) -> int:
        """SIGTERM, then SIGKILL after `grace_s`; its exit status."""
        if not self.ended:
            self.process.terminate()
            try:
                await asyncio.wait_for(self.process.wait(), grace_s)
            except TimeoutError:
                self.process.kill()
        return await self.process.wait()


async def start(name: str, command: Sequence[str], *, directory: Path, environ: Mapping[str, str]) -> Child:
    """Starts `command`, its output in `directory`/NAME.log.

    It gets a session of its own, so that a terminal's Ctrl-C reaches only us and the drain keeps its order.
    """
    log = directory / f"{name}.log"
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    begins = os.fstat(handle).st_size
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=handle,
            stderr=handle,
            env=dict(environ),
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
    finally:
        os.close(handle)
    return Child(name, process, log, begins)


async def wait_event(child: Child, event: str, deadline_s: float) -> dict[str, Any]:
    """The first line of a child's log that is a JSON object with this `event`: how a program says where it listens.

    Raises:
        ProcessError: the child ended, or said nothing in time.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + deadline_s
    while loop.time() < end:
        child.check()
        for line in child.log.read_bytes()[child.begins :].decode(errors="replace").splitlines():
            found = _object(line)
            if found.get("event") == event:
                return found
        await asyncio.sleep(0.02)
    raise ProcessError(f"{child.name} did not say {event!r} within {deadline_s} s:\n{child.last_lines()}")


def _object(line: str) -> dict[str, Any]:
    if not (line.startswith("{") and line.endswith("}")):
        return {}
    try:
        return dict(json.loads(line))
    except ValueError:
        return {}
