"""Garbage collection with short pauses.

CPython 3.11's full collection visits every container object of the process: 30 to 50 ms with 10,000 series, measured.
An order waits for it, and so does every heartbeat. Objects live long here, so every ten seconds all that are alive
are moved out of the collector's sight (`gc.freeze`), and only newer ones are visited. A frozen cycle that dies is
garbage that nothing frees, so once an hour everything is thawed, collected and frozen again, in one long pause.
Reference counting frees all other objects at once, as ever.

Not simply `gc.disable()`: exceptions and their tracebacks make cycles all the time, and each keeps alive the local
variables of the frames that it went through.

https://docs.python.org/3.11/library/gc.html#gc.freeze
"""

from __future__ import annotations

import asyncio
import gc

# The start itself should not wait for a collection.
FIRST_S = 1.0
FREEZE_INTERVAL_S = 10.0
FREEZES_A_FULL = 360
# New containers before the youngest generation is collected; CPython's 700 is for small programs.
YOUNG_OBJECTS = 10_000
_NEVER = 1_000_000


def settle() -> None:
    """Collect everything once, and freeze the objects that are alive."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    # Between two freezes the oldest generation holds little: its threshold is one that is never reached.
    gc.set_threshold(YOUNG_OBJECTS, 20, _NEVER)


def keep_short(loop: asyncio.AbstractEventLoop, first_s: float = FIRST_S) -> None:
    """Keep pauses short for as long as `loop` runs."""
    loop.call_later(first_s, _freeze, loop, 0)


def _freeze(loop: asyncio.AbstractEventLoop, number: int) -> None:
    # The first one too: the start leaves more garbage than any hour after it.
    if number % FREEZES_A_FULL == 0:
        settle()
    else:
        # The young ones first: what is frozen as garbage stays until the next full collection.
        gc.collect(1)
        gc.freeze()
    loop.call_later(FREEZE_INTERVAL_S, _freeze, loop, number + 1)
