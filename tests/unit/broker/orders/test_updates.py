from __future__ import annotations

import asyncio

from broker.orders.updates import Missed, Updates


async def test_slow_listener_misses_the_oldest_and_is_told() -> None:
    updates: Updates[int] = Updates(depth=2)
    stream = updates.listen()
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    for number in range(1, 6):
        updates.publish(number)
    assert await waiting == Missed(3)
    assert [await anext(stream), await anext(stream)] == [4, 5]


async def test_listener_that_left_costs_nothing() -> None:
    updates: Updates[int] = Updates()
    stream = updates.listen()
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    assert updates
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await stream.aclose()  # type: ignore[attr-defined] # a generator in fact
    assert not updates
