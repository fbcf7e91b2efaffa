"""Cyclic garbage collection in pauses that nobody notices.

CPython 3.11's full collection looks at every container object of the process: 30 to 50 ms with 10,000 series,
measured. What is alive lives long here, so it is put out of the collector's sight (`gc.freeze`), again and again as
it grows; only what came since is looked at. Once an hour all of it is looked at, for cycles that were frozen with the
rest. https://docs.python.org/3.11/library/gc.html#gc.freeze
"""

from __future__ import annotations

import asyncio
import gc
from contextlib import suppress

FREEZE_INTERVAL_S = 10.0
FULL_INTERVAL_S = 3600.0
YOUNG_OBJECTS = 10_000
"""New containers before the youngest are looked at (CPython's 700 is for small programs)."""
_NEVER = 1_000_000


def settle() -> None:
    """Collects everything once and freezes what is alive: to be called when a process has started."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    # The oldest generation holds little between two freezes, so it need not be collected by itself.
    gc.set_threshold(YOUNG_OBJECTS, 20, _NEVER)


async def keep_short(stop: asyncio.Event) -> None:
    """Keeps pauses short until `stop`."""
    settle()
    waited_s = 0.0
    while not stop.is_set():
        with suppress(TimeoutError):
            async with asyncio.timeout(FREEZE_INTERVAL_S):
                await stop.wait()
        waited_s += FREEZE_INTERVAL_S
        if waited_s >= FULL_INTERVAL_S:
            waited_s = 0.0
            settle()
        else:
            gc.collect(1)
            gc.freeze()
