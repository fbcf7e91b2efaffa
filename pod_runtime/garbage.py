"""Cyclic garbage collection in pauses that nobody notices.

CPython 3.11's full collection looks at every container object of the process: 30 to 50 ms with 10,000 series,
measured. What is alive lives long here, so it is put out of the collector's sight (`gc.freeze`), again and again as
it grows; only what came since is looked at. Once an hour all of it is looked at, for cycles that were frozen with the
rest. https://docs.python.org/3.11/library/gc.html#gc.freeze
"""

from __future__ import annotations

import asyncio
import gc

FIRST_S = 1.0
"""After the start, which should not wait for it."""
FREEZE_INTERVAL_S = 10.0
FREEZES_A_FULL = 360
YOUNG_OBJECTS = 10_000
"""New containers before the youngest are looked at (CPython's 700 is for small programs)."""
_NEVER = 1_000_000


def settle() -> None:
    """Collects everything once and freezes what is alive."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    # The oldest generation holds little between two freezes, so it need not be collected by itself.
    gc.set_threshold(YOUNG_OBJECTS, 20, _NEVER)


def keep_short(loop: asyncio.AbstractEventLoop, first_s: float = FIRST_S) -> None:
    """Keeps pauses short for as long as `loop` runs."""
    loop.call_later(first_s, _freeze, loop, 0)


def _freeze(loop: asyncio.AbstractEventLoop, number: int) -> None:
    if number % FREEZES_A_FULL == 0:
        settle()
    else:
        gc.collect(1)
        gc.freeze()
    loop.call_later(FREEZE_INTERVAL_S, _freeze, loop, number + 1)
