"""Repeated attempts: exponential backoff with jitter, and the faults of the system after which a task goes on.

Jitter matters more than the exponent where many clients lose one server at once, as every broker does when the venue
restarts: equal delays bring them back in one moment, again and again.
https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/ compares the kinds; this is its "equal
jitter". Its "full jitter" may draw a delay of almost nothing, which wastes an attempt on a server that is still away.

`Backoff` is pure: the caller draws the random number, so that a test knows each delay, and sleeps by its own clock.

A system that lacks descriptors, memory or space says so in whichever call comes next, of whichever task. It is no
reason to end a process: a restart needs more of each. `is_passing` is the one list of such errors, and `persist` the
one loop for tasks that have no better answer of their own, such as a condition to set or a caller to tell.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import TypeVar

T = TypeVar("T")
log = logging.getLogger(__name__)

PASSING = frozenset(
    {
        *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS),
        # A file-size limit (setrlimit(2), RLIMIT_FSIZE) is a full volume by another name.
        *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
        # A network volume that comes back.
        errno.EIO,
    }
)
"""Error numbers of a system that lacks something for a while. EROFS and EACCES are not: a person has to act."""
NO_THREAD = "can't start new thread"
"""CPython's RuntimeError for EAGAIN of pthread_create(3): too many threads, by a control group or a limit."""


def is_passing(error: BaseException) -> bool:
    """True for an error of a system that lacks something for a while; for a group, if each error in it is one."""
    match error:
        case BaseExceptionGroup():
            return all(is_passing(inner) for inner in error.exceptions)
        case OSError():
            return error.errno in PASSING
        case RuntimeError():
            return str(error) == NO_THREAD
    return isinstance(error, MemoryError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Delays that grow from `base_s` by `factor` up to `cap_s`.

    The delay before repeat *n*, counted from 0, is uniform in [½·d, d] with d = min(cap, base·factorⁿ).
    """

    base_s: float = 0.25
    cap_s: float = 30.0
    factor: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.base_s <= self.cap_s or self.factor < 1:
            raise ValueError(f"backoff needs 0 < base <= cap and factor >= 1: {self}")

    def delay_s(self, attempt: int, chance: float) -> float:
        """Return the seconds to wait before repeat `attempt`, for a random number `chance` in [0, 1)."""
        # 2.0 to the power of 1024 overflows, and an outage may well last that many attempts.
        exponent = min(attempt, 64)
        ceiling = min(self.cap_s, self.base_s * self.factor**exponent)
        return ceiling * (0.5 + 0.5 * chance)


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
                log.warning("task held up", extra={"task": name, "fault": fault_of(error)})
        with suppress(TimeoutError):
            async with asyncio.timeout(PERSIST.delay_s(failures, random.random())):  # noqa: S311 - spreads load only
                await (stop or asyncio.Event()).wait()
        failures += 1


def fault_of(error: BaseException) -> str:
    """Words for a passing fault: of a group, those for its first error."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
