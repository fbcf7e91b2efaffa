"""A bounded hand-off between tasks that can be closed (`Queue.shutdown` is Python 3.13's)."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class ClosedError(Exception):
    """The channel is closed, and for a receiver also empty."""


class Channel(Generic[T]):
    """First in, first out, at most `capacity` items; a full channel makes `send` wait.

    One event loop only. `offer` never waits and says whether it took the item; the caller counts what
    it did not. After `close`, senders fail at once and receivers get what is left, then fail.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, not {capacity}")
        self._items: deque[T] = deque()
        self._capacity = capacity
        self._changed = asyncio.Condition()
        self._closed = False

    def __len__(self) -> int:
        return len(self._items)

    async def send(self, item: T) -> None:
        """Appends `item`, waiting for room.

        Raises:
            ClosedError: the channel is or becomes closed.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self._closed or len(self._items) < self._capacity)
            if self._closed:
                raise ClosedError
            self._items.append(item)
            self._changed.notify_all()

    async def receive(self) -> T:
        """Takes the oldest item, waiting for one.

        Raises:
            ClosedError: the channel is closed and empty.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self._closed or self._items)
            if not self._items:
                raise ClosedError
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    async def close(self) -> None:
        """Ends the channel; calling it again changes nothing."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()
