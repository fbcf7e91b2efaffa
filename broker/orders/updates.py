"""Broadcast of changes, quotes and the account as they come. A slow listener loses the oldest and is told how many.

A change that a listener has lost is in the journal still: `event_stream` reads it there. Quotes are gone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from broker.domain import Account, Quote
from broker.orders.store.tail import Change

Update = Change | Quote | Account
DEPTH = 1000
"""Updates that a listener may be behind; more would only be older prices."""


@dataclass(frozen=True, slots=True)
class Missed:
    """Number of updates dropped before the next one, because the listener was too slow."""

    count: int


class Listener:
    """Updates that one reader has not taken yet."""

    def __init__(self, depth: int) -> None:
        self._items: deque[Update] = deque(maxlen=depth)
        self._missed = 0
        self._ready = asyncio.Event()
        self.lost_change = False
        """True once a journaled change was dropped; the reader takes it from the journal and sets this back."""

    def take(self, item: Update) -> None:
        """Keep an item, in place of the oldest if there are too many."""
        if len(self._items) == self._items.maxlen:
            oldest = self._items.popleft()
            is_journaled = isinstance(oldest, Change) and oldest.position > 0
            self.lost_change |= is_journaled
            self._missed += not is_journaled
        self._items.append(item)
        self._ready.set()

    async def next(self) -> Update | Missed | None:
        """The next update as it comes; None if a change was lost before it."""
        while not self.lost_change:
            if self._missed:
                missed, self._missed = self._missed, 0
                return Missed(missed)
            if self._items:
                return self._items.popleft()
            self._ready.clear()
            await self._ready.wait()
        return None


class Updates:
    """Passes each item to every listener; without one it costs nothing."""

    def __init__(self, depth: int = DEPTH) -> None:
        self._depth = depth
        self._listeners: set[Listener] = set()

    def __bool__(self) -> bool:
        return bool(self._listeners)

    def publish(self, item: Update) -> None:
        """Hand an item to the listeners; never waits."""
        # A listener that is full drops its oldest: the publisher is the order path.
        for listener in self._listeners:
            listener.take(item)

    @contextmanager
    def listen(self) -> Iterator[Listener]:
        """A listener to what is published from now on, until the block ends."""
        listener = Listener(self._depth)
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)
