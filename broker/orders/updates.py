"""Broadcast of orders and quotes as they change. A slow listener loses the oldest and is told how many."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
DEPTH = 1000
"""Updates that a listener may be behind; more would only be older prices."""


@dataclass(frozen=True, slots=True)
class Missed:
    """Number of updates dropped before the next one, because the listener was too slow."""

    count: int


class _Listener(Generic[T]):
    def __init__(self, depth: int) -> None:
        self.items: deque[T] = deque(maxlen=depth)
        self.missed = 0
        self.ready = asyncio.Event()

    def put(self, item: T) -> None:
        # Drop the oldest, never wait: the publisher is the order path.
        if len(self.items) == self.items.maxlen:
            self.missed += 1
        self.items.append(item)
        self.ready.set()


class Updates(Generic[T]):
    """Passes each item to every listener that is iterating; without one it costs nothing."""

    def __init__(self, depth: int = DEPTH) -> None:
        self._depth = depth
        self._listeners: set[_Listener[T]] = set()

    def __bool__(self) -> bool:
        return bool(self._listeners)

    def publish(self, item: T) -> None:
        """Hand an item to the listeners; never waits."""
        for listener in self._listeners:
            listener.put(item)

    async def listen(self) -> AsyncIterator[T | Missed]:
        """Items from now on, for ever; close the iterator to leave."""
        listener: _Listener[T] = _Listener(self._depth)
        self._listeners.add(listener)
        try:
            while True:
                await listener.ready.wait()
                # Before the items are read: one that is published meanwhile sets it again.
                listener.ready.clear()
                if listener.missed:
                    missed, listener.missed = listener.missed, 0
                    yield Missed(missed)
                while listener.items:
                    yield listener.items.popleft()
        finally:
            self._listeners.discard(listener)
