"""Client order ids that are too old for memory: the history has their orders, and a filter tells when to ask it.

A Bloom filter (Bloom 1970) of all ids in the history answers for new orders without the database. It may take a new
id for a known one (below 1 % up to seven million ids), and then the database is asked; never the other way round.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from hashlib import blake2b

from broker.domain import Order
from broker.history.archive import Archive
from broker.history.database import DatabaseUnavailableError
from broker.orders.errors import NotReadyError
from pod_runtime.cancellation import check_cancelled

BITS = 1 << 26  # 8 MiB; the system gives memory only for the pages that are written to
HASHES = 4
FOLLOW_S = 60.0
RETRY_S = 1.0
DEADLINE_S = 0.5  # an order waits for it
SLICE = 100  # ids in about 0.3 ms: orders do not wait behind a long history
OVERLAP = timedelta(minutes=5)  # longest delay with which a row may come into the database
_LOG = logging.getLogger(__name__)


class BloomFilter:
    """A set of texts in fixed memory: it never denies a member, and may take others for one."""

    def __init__(self, bits: int = BITS) -> None:
        self._bits = bits
        self._bytes = bytearray(bits // 8)

    def add(self, text: str) -> None:
        """Add a text."""
        for place in self._places(text):
            self._bytes[place >> 3] |= 1 << (place & 7)

    def __contains__(self, text: str) -> bool:
        return all(self._bytes[place >> 3] & (1 << (place & 7)) for place in self._places(text))

    def _places(self, text: str) -> Iterator[int]:
        # Double hashing (Kirsch and Mitzenmacher 2006): two hash values serve for all four.
        digest = blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()
        first, step = int.from_bytes(digest[:8]), int.from_bytes(digest[8:]) | 1
        return ((first + index * step) % self._bits for index in range(HASHES))


class Recall:
    """Finds the first order of a caller's id in the history. `run` follows the history until it is cancelled."""

    def __init__(self, archive: Archive, bits: int = BITS) -> None:
        self._archive = archive
        self._known = BloomFilter(bits)
        self._newest: datetime | None = None
        self.is_whole = False
        """True once every id of the history is in the filter; before that each order asks the database."""
        self._is_away = False

    def note(self, client: str, client_order_id: str) -> None:
        """Remember that the id is used."""
        self._known.add(f"{client}\0{client_order_id}")

    async def first(self, client: str, client_order_id: str) -> Order | None:
        """The order that has this id; None for a new id.

        Raises NotReadyError: the id was used, and the database cannot tell for which order. Nothing may be sent.
        """
        if self.is_whole and f"{client}\0{client_order_id}" not in self._known:
            return None
        # An order does not wait for a database that may be away for hours. Until the filter is whole, an old id may
        # so be taken for a new one; refusing every order instead would make trading depend on the history.
        if self._is_away and not self.is_whole:
            return None
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await self._archive.by_client_id(client, client_order_id)
        except (DatabaseUnavailableError, TimeoutError) as error:
            self._is_away = True
            # The filter knows the id, so nearly always the order exists: sent now, it would be a second one.
            if self.is_whole:
                raise NotReadyError("HistoryUnavailable") from error
            return None

    async def run(self) -> None:
        """Read the ids that are there, then those that come: another process may write them."""
        while True:
            check_cancelled()
            try:
                await self._read()
            except DatabaseUnavailableError as error:
                _LOG.debug("callers' ids not read yet", extra={"fault": str(error)})
            await asyncio.sleep(FOLLOW_S if self.is_whole else RETRY_S)

    async def _read(self) -> None:
        since = self._newest - OVERLAP if self._newest is not None else None
        async for block in self._archive.names(since):
            for start in range(0, len(block), SLICE):
                for made_at, client, client_order_id in block[start : start + SLICE]:
                    self.note(client, client_order_id)
                    self._newest = made_at
                await asyncio.sleep(0)
        self.is_whole, self._is_away = True, False
