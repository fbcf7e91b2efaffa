"""An agent as a process that can be killed: `python agent_process.py SETTINGS [prove] [die=N]`.

Logs go to standard output. With `prove` it takes every set as proved as soon as it is published, as a reader that is
always there would. With `die=N` it kills itself before its Nth system call that changes a file.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pod_runtime import log
from pod_runtime.config import load
from pod_runtime.run import run
from sidecar.secrets.agent import SecretsAgent
from sidecar.secrets.settings import SecretsSettings

CHANGES = (
    "mkdir",
    "open",
    "chmod",
    "fchmod",
    "chown",
    "fchown",
    "write",
    "fsync",
    "symlink",
    "rename",
    "replace",
    "unlink",
)


def die_at(number: int) -> None:
    """Counts the calls of all threads; signal 9 leaves nothing to be tidied up."""
    count = itertools.count(1)

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if next(count) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)

        return call

    for name in CHANGES:
        setattr(os, name, counted(getattr(os, name)))


async def serve(stop: asyncio.Event) -> int:
    settings = load(SecretsSettings, path=Path(sys.argv[1]), environ={}, prefix="")
    for option in sys.argv[2:]:
        if option.startswith("die="):
            die_at(int(option.removeprefix("die=")))
    agent = SecretsAgent(settings)
    end = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(agent.run(end))
        if "prove" in sys.argv[2:]:
            await prove(agent, stop)
        await stop.wait()
        end.set()
    return 0


async def prove(agent: SecretsAgent, stop: asyncio.Event) -> None:
    while not stop.is_set():
        status = agent.status()
        if status.generation_published > status.generation_acknowledged:
            agent.acknowledgements.applied("broker", status.generation_published)
        await asyncio.sleep(0.02)
    agent.acknowledgements.goodbye("broker")


if __name__ == "__main__":
    log.configure("agent", "DEBUG")
    sys.exit(run(serve))
