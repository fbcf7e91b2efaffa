"""Operations under keys of their own, by key; the journal keeps them as `OperationRecord`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from broker.orders.model.operations import OperationRecord


class OperationIndex:
    """Operations by their client and key. `forget` removes those beyond a number or age, oldest first."""

    def __init__(self, remember: int, remember_s: float) -> None:
        self._remember = remember
        self._remember_for = timedelta(seconds=remember_s)
        # In the order of their begin: a repetition does not move one, and so does not keep it alive.
        self._records: dict[tuple[str, str], OperationRecord] = {}

    def __iter__(self) -> Iterator[OperationRecord]:
        return iter(self._records.values())

    def put(self, record: OperationRecord) -> None:
        """Store a record in place of the one with its key."""
        self._records[record.client, record.key] = record

    def get(self, client: str, key: str) -> OperationRecord | None:
        """By the caller and its key."""
        return self._records.get((client, key))

    def forget(self, now: datetime) -> None:
        """Remove the oldest ones that are too many or too old."""
        while self._records:
            name, record = next(iter(self._records.items()))
            if now - record.at < self._remember_for and len(self._records) <= self._remember:
                return
            del self._records[name]
