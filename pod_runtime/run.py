"""Run loop of every process: uvloop until SIGTERM or SIGINT, then the drain, then the exit code (sysexits.h).

It keeps the pauses of garbage collection short. CPython 3.11's full collection visits every container object of the
process: 30 to 50 ms with 10,000 series, measured. An order waits for it, and so does every heartbeat. Objects live
long here, so every ten seconds all that are alive are moved out of the collector's sight (`gc.freeze`), and only
newer ones are visited. A frozen cycle that dies is garbage that nothing frees, so once an hour everything is thawed,
collected and frozen again, in one long pause. Reference counting frees all other objects at once, as ever.

Not simply `gc.disable()`: exceptions and their tracebacks make cycles all the time, and each keeps alive the local
variables of the frames that it went through.

https://docs.python.org/3.11/library/gc.html#gc.freeze

A system that lacks descriptors, memory or space says so in whichever call comes next, of whichever task. It is no
reason to end a process: a restart needs more of each. `is_passing` is the one list of such errors, and `persist` the
one loop for tasks that have no better answer of their own, such as a condition to set or a caller to tell.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import random
import resource
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import TypeVar

from pod_runtime.backoff import Backoff

T = TypeVar("T")
Serve = Callable[[asyncio.Event], Awaitable[int]]
log = logging.getLogger(__name__)

# The start itself should not wait for a collection.
FIRST_S = 1.0
FREEZE_INTERVAL_S = 10.0
FREEZES_A_FULL = 360
FULL_GROWTH = 1.1
"""Growth of the process behind a full collection that brings the next one. What was alive at a freeze and is garbage
now, as the state of connections that have ended, no young collection sees."""
# New containers before the youngest generation is collected; CPython's 700 is for small programs.
YOUNG_OBJECTS = 10_000
_NEVER = 1_000_000


def run(serve: Serve) -> int:
    """Run `serve(stop)` on uvloop, set `stop` at SIGTERM or SIGINT, and return the exit code of `serve`.

    A second signal of the same kind changes nothing: drains are idempotent, and the kubelet's SIGKILL
    is the way to end one that hangs.
    """
    import uvloop  # noqa: PLC0415 - the producer library imports this module, and needs no uvloop

    # No core file after a crash: the memory holds secrets (core(5)).
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    raise_descriptor_limit()
    # Nobody else reads what we write, whatever umask we were started with: also files that libraries make, such as
    # SQLite's. What others may read is given its mode by name (published secrets, the telemetry socket).
    os.umask(0o077)
    return uvloop.run(_until_signal(serve))


async def _until_signal(serve: Serve) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    # The first collection comes a second later, and freezes what the start has made.
    keep_short(loop)
    # SIGTERM is the kubelet's, SIGINT is Ctrl-C; both mean the drain.
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return await serve(stop)


def raise_descriptor_limit() -> int:
    """Raise this process's soft limit of file descriptors to the hard one; return it.

    The usual soft limit of 1024 is for programs that call select(2), which we never do (getrlimit(2)).
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard


def collect_seldom() -> None:
    """Collect garbage as seldom as `settle` does, from now on: a start makes thousands of objects that stay."""
    gc.set_threshold(YOUNG_OBJECTS, 20, _NEVER)


def settle() -> None:
    """Collect everything once, and freeze the objects that are alive."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    # Between two freezes the oldest generation holds little: its threshold is one that is never reached.
    collect_seldom()


def keep_short(loop: asyncio.AbstractEventLoop, first_s: float = FIRST_S) -> None:
    """Keep pauses short for as long as `loop` runs."""
    loop.call_later(first_s, _freeze, loop, 0, 0)


def is_full_due(number: int, resident: int, settled: int) -> bool:
    """True if the collection of this number is a full one; `resident` bytes now, `settled` behind the last full one."""
    # The first one too: the start leaves more garbage than any hour after it.
    return number % FREEZES_A_FULL == 0 or resident > FULL_GROWTH * settled


def resident_bytes() -> int:
    """Return the memory that the process takes; 0 if the system does not tell (proc_pid_statm(5))."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return 0


def _freeze(loop: asyncio.AbstractEventLoop, number: int, settled: int) -> None:
    if is_full_due(number, resident_bytes(), settled):
        settle()
        settled = resident_bytes()
    else:
        # The young ones first: what is frozen as garbage stays until the next full collection.
        gc.collect(1)
        gc.freeze()
    loop.call_later(FREEZE_INTERVAL_S, _freeze, loop, number + 1, settled)


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


LACKS: Mapping[int, str] = {
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "NoDescriptors"),
    **dict.fromkeys((errno.ENOMEM, errno.ENOBUFS), "NoMemory"),
    # A file-size limit (setrlimit(2), RLIMIT_FSIZE) is a full volume by another name.
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "VolumeFull"),
    # A network volume that comes back.
    errno.EIO: "VolumeFailing",
}
"""Error numbers of a system that lacks something for a while, with the word for callers and conditions.

EROFS and EACCES are not among them: a person has to act."""
NO_THREAD = "can't start new thread"
"""CPython's RuntimeError for EAGAIN of pthread_create(3): too many threads, by a control group or a limit."""


def is_passing(error: BaseException) -> bool:
    """True for an error of a system that lacks something for a while; for a group, if each error in it is one."""
    return lack_of(error) is not None


def lack_of(error: BaseException) -> str | None:
    """Return the word for what the system lacks for a while; None for an error of another kind, or a group with one."""
    words = [_lack_of(leaf) for leaf in leaves(error)]
    return words[0] if all(words) else None


def _lack_of(error: BaseException) -> str | None:
    if isinstance(error, OSError):
        return LACKS.get(error.errno or 0)
    if isinstance(error, MemoryError):
        return "NoMemory"
    return "NoThreads" if isinstance(error, RuntimeError) and str(error) == NO_THREAD else None


PERSIST = Backoff(base_s=0.25, cap_s=5.0)
HEALTHY_AFTER_S = 10.0
"""Seconds after which a task that fails again has failed anew, and not once more in a row."""


async def persist(name: str, work: Callable[[], Awaitable[T]], stop: asyncio.Event | None = None) -> T:
    """Return what `work` returns, begun anew after each passing fault; any other error is raised.

    `name` is the task's in the log, which has one line for a row of faults. Once `stop` is set, faults are raised.
    """
    failures = 0
    while True:
        began_s = monotonic()
        try:
            return await work()
        except Exception as error:
            if not is_passing(error) or (stop is not None and stop.is_set()):
                raise
            failures = 0 if monotonic() - began_s > HEALTHY_AFTER_S else failures
            if not failures:
                fault = next(leaves(error))
                log.warning("task held up", extra={"task": name, "fault": f"{type(fault).__name__}: {fault}"})
        with suppress(TimeoutError):
            async with asyncio.timeout(PERSIST.delay_s(failures, random.random())):  # noqa: S311 - spreads load only
                await (stop or asyncio.Event()).wait()
        failures += 1
