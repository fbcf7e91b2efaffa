from __future__ import annotations

import asyncio

from broker.orders.store.tail import Change
from broker.orders.updates import Missed, Updates
from tests.unit.broker.api.schemas.test_events import QUOTE

LOST = Change(position=0)
"""A change that the journal failed to take: nowhere to be read again."""


async def test_slow_listener_misses_the_oldest_and_is_told() -> None:
    updates = Updates(depth=2)
    with updates.listen() as listener:
        for item in (QUOTE, QUOTE, LOST, QUOTE, LOST):
            updates.publish(item)
        assert await listener.next() == Missed(3)
        assert [await listener.next(), await listener.next()] == [QUOTE, LOST]


async def test_listener_that_lost_a_journaled_change_is_sent_back_to_the_journal() -> None:
    updates = Updates(depth=2)
    with updates.listen() as listener:
        for position in (1, 2, 3):
            updates.publish(Change(position=position))
        assert await listener.next() is None
        listener.lost_change = False
        assert [await listener.next(), await listener.next()] == [Change(position=2), Change(position=3)]


async def test_listener_waits_for_the_next() -> None:
    updates = Updates()
    with updates.listen() as listener:
        waiting = asyncio.ensure_future(listener.next())
        await asyncio.sleep(0)
        assert not waiting.done()
        updates.publish(QUOTE)
        assert await waiting == QUOTE


async def test_listener_that_left_costs_nothing() -> None:
    updates = Updates()
    with updates.listen():
        assert updates
    assert not updates
