"""Callers' ids that are too old for memory: the history has their orders, and a filter tells when to ask it.

A Bloom filter (Bloom 1970) of all ids in the history answers for new orders without the database: it may take a new
id for a known one (below 1 % up to seven million ids), and then the database is asked; never the other way round.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Protocol

from broker.domain import Order
from broker.history.database import DatabaseUnavailableError
from broker.orders.errors import NotReadyError

BITS = 1 << 26
"""8 MiB, of which the system gives what is written to."""
HASHES = 4
FOLLOW_S = 60.0
ASK_S = 0.5
SLICE = 100
"""Ids taken at a stretch: about 0.3 ms, so that orders do not wait behind a long history."""
OVERLAP = timedelta(minutes=5)
"""How much later than others a row may have come into the database."""
log = logging.getLogger(__name__)
Named = tuple[datetime, str, str]
"""When an order was made, its caller, the caller's id."""


class Names(Protocol):
    """What is asked of the history; see `broker.history.archive`."""

    async def by_client_id(self, client: str, client_order_id: str) -> Order | None:
        """By the caller's id."""

    def names(self, since: datetime | None) -> AsyncIterator[list[Named]]:
        """The callers' ids of all orders from a time on, in blocks, the oldest first."""


class Bloom:
    """A set of texts that forgets nothing and may say yes wrongly."""

    def __init__(self, bits: int = BITS) -> None:
        self._bits = bits
        self._bytes = bytearray(bits // 8)

    def add(self, text: str) -> None:
        """Takes a text."""
        for place in self._places(text):
            self._bytes[place >> 3] |= 1 << (place & 7)

    def __contains__(self, text: str) -> bool:
        return all(self._bytes[place >> 3] & (1 << (place & 7)) for place in self._places(text))

    def _places(self, text: str) -> Iterator[int]:
        """Double hashing (Kirsch and Mitzenmacher 2006)."""
        digest = blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()
        first, step = int.from_bytes(digest[:8]), int.from_bytes(digest[8:]) | 1
        return ((first + index * step) % self._bits for index in range(HASHES))


class Recall:
    """Finds the first order of a caller's id in the history. `run` follows the history until it is cancelled."""

    def __init__(self, archive: Names, bits: int = BITS) -> None:
        self._archive = archive
        self._known = Bloom(bits)
        self._newest: datetime | None = None
        self.is_whole = False
        """Whether every id of the history is in the filter; before that each order asks the database."""
        self._is_away = False

    def note(self, client: str, client_order_id: str) -> None:
        """The id is used from now on."""
        self._known.add(f"{client}\0{client_order_id}")

    async def first(self, client: str, client_order_id: str) -> Order | None:
        """The order that has this id; None for a new id.

        Raises:
            NotReadyError: the id was used, and the history cannot be asked for what. Nothing may be sent.
        """
        if self.is_whole and f"{client}\0{client_order_id}" not in self._known:
            return None
        if self._is_away and not self.is_whole:
            return None  # an order does not wait for a database that may be away for hours
        try:
            async with asyncio.timeout(ASK_S):
                return await self._archive.by_client_id(client, client_order_id)
        except (DatabaseUnavailableError, TimeoutError) as error:
            self._is_away = True
            if self.is_whole:
                raise NotReadyError("HistoryUnavailable") from error
            return None

    async def run(self) -> None:
        """Reads the ids that are there, then those that come: another process may write them."""
        while True:
            try:
                await self._read()
            except DatabaseUnavailableError as error:
                log.debug("callers' ids not read yet", extra={"fault": str(error)})
            await asyncio.sleep(FOLLOW_S if self.is_whole else 1.0)

    async def _read(self) -> None:
        since = self._newest - OVERLAP if self._newest is not None else None
        async for block in self._archive.names(since):
            for start in range(0, len(block), SLICE):
                for made_at, client, client_order_id in block[start : start + SLICE]:
                    self.note(client, client_order_id)
                    self._newest = made_at
                await asyncio.sleep(0)
        self.is_whole, self._is_away = True, False
