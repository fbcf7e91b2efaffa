from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from broker.orders.conditions import BrokerCondition, Conditions
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
    await stream.aclose()
    assert not updates


def test_condition_keeps_its_since_while_nothing_turns() -> None:
    times = iter(datetime(2026, 1, 5, 12, minute, tzinfo=UTC) for minute in range(9))
    conditions = Conditions(lambda: next(times))
    for message in ("a", "b"):
        conditions.set(BrokerCondition.VENUE, ok=False, reason="NotSent", message=message)
    first = conditions.fault()
    assert first is not None
    assert (first.since.minute, first.message) == (0, "b")
    conditions.set(BrokerCondition.VENUE, ok=True, reason="Ready")
    conditions.set(BrokerCondition.TRADING, ok=False, reason="Halted", advisory=True)
    assert conditions.fault() is None
    assert [item.since.minute for item in conditions.all()] == [3, 2]
