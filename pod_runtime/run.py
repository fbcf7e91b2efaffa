"""Run loop of every process: uvloop until SIGTERM or SIGINT, then the drain, then the exit code (sysexits.h)."""

from __future__ import annotations

import asyncio
import resource
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator

from pod_runtime import garbage

Serve = Callable[[asyncio.Event], Awaitable[int]]


def run(serve: Serve) -> int:
    """Run `serve(stop)` on uvloop, set `stop` at SIGTERM or SIGINT, and return the exit code of `serve`.

    A second signal of the same kind changes nothing: drains are idempotent, and the kubelet's SIGKILL
    is the way to end one that hangs.
    """
    import uvloop  # noqa: PLC0415 - the producer library imports this module, and needs no uvloop

    # No core file after a crash: the memory holds secrets (core(5)).
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return uvloop.run(_until_signal(serve))


async def _until_signal(serve: Serve) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    # The first collection comes a second later, and freezes what the start has made.
    garbage.keep_short(loop)
    # SIGTERM is the kubelet's, SIGINT is Ctrl-C; both mean the drain.
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return await serve(stop)


def complain(text: str) -> None:
    """Write to standard error, for a person at a terminal."""
    sys.stderr.write(text.rstrip() + "\n")


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the errors of an exception group, its inner groups opened; an error that is no group is its own leaf."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error
