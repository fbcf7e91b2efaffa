"""Running a process until it is told to end."""

from __future__ import annotations

import asyncio
import resource
import signal
import sys
from collections.abc import Awaitable, Callable

import uvloop

from pod_runtime import garbage

Serve = Callable[[asyncio.Event], Awaitable[int]]


def run(serve: Serve) -> int:
    """Runs `serve(stop)` on uvloop; SIGTERM and SIGINT set `stop`. Returns its exit code.

    A second signal of the same kind changes nothing: drains are idempotent, and the kubelet's SIGKILL
    is the way to end one that hangs. A crash leaves no core file: the memory holds secrets.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return uvloop.run(_until_signal(serve))


async def _until_signal(serve: Serve) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    garbage.keep_short(loop)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return await serve(stop)


def complain(text: str) -> None:
    """Writes to standard error, for a person at a terminal."""
    sys.stderr.write(text.rstrip() + "\n")
