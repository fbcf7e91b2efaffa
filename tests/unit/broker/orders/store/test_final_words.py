"""Final words of a caller hold at every later start of any owner: over kills, lost ownership and full disks.

The order of things is drawn by hypothesis; the venue's log is the one thing that nobody takes back.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from broker.domain import Order, OrderStatus
from broker.orders.model.lifecycle import TABLE, OrderRecord, holds_id
from broker.orders.store.journal import OrderJournalError
from broker.orders.store.order_store import OrderStore
from broker.venue.v20.transactions import Transaction
from tests.unit.broker.orders.samples import FakeLease, created, filled, make_record, make_store, rejected

TOLD = (*(status for status in OrderStatus if status.is_final), OrderStatus.PRESUMED_ABSENT)
"""Statuses by which a caller decides what to do."""
SENT = (OrderStatus.SUBMITTED, OrderStatus.UNKNOWN)


class LostLease(FakeLease):
    """A lease that another process can take, before our own time is over or behind it."""

    held = unexpired = True

    def holds(self) -> bool:
        return self.held

    def is_unexpired(self) -> bool:
        return self.unexpired


class FinalWords(RuleBasedStateMachine):
    """One account's store through terms of ours and of others; every status that it shows is noted as told."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.log: list[Transaction] = []
        self.told: dict[str, OrderStatus] = {}
        self.count = 0
        self.disk_is_full = False
        self._open({})

    def _open(self, owed: Mapping[str, OrderRecord]) -> None:
        self.disk_is_full = False
        self.store: OrderStore = make_store(self.directory, remember_orders=1000)
        self.lease = LostLease()
        self.store._lease = self.lease  # type: ignore[assignment] # a fake
        self.store.open()
        self.store.end_flights(owed)
        # The catch-up: what the venue did meanwhile.
        for item in self.log:
            if item.id > (self.store.control.applied or 0):
                self.store.deliver(item)
        self._spoil(self.store.journal, "append")
        self._spoil(self.store.journal, "rotate")

    def _spoil(self, journal: Any, name: str) -> None:
        work: Callable[[Any], Any] = getattr(journal, name)

        def write(content: Any) -> Any:
            if self.disk_is_full:
                raise OrderJournalError("no space")
            return work(content)

        setattr(journal, name, write)

    def _close(self) -> None:
        asyncio.run(self.store.journal.close())

    def _pick(self, data: st.DataObject, *statuses: OrderStatus) -> OrderRecord | None:
        found = self.store.index.with_status(*statuses)
        return data.draw(st.sampled_from(found)) if found else None

    @rule()
    def receive(self) -> None:
        self.count += 1
        name = f"order-{self.count}"
        self.store.put(make_record(OrderStatus.RECEIVED, order_id=name, client_id=f"bk.broker.1.{name}.caller"))

    @rule(data=st.data())
    def submit(self, data: st.DataObject) -> None:
        if (record := self._pick(data, OrderStatus.RECEIVED)) is None:
            return
        try:
            self.store.put_intent(record.moved(OrderStatus.SUBMITTED, self.store.now()))
        except OrderJournalError as error:
            self.store.move(record.id, OrderStatus.DENIED, "JOURNAL_UNAVAILABLE", str(error))

    @rule(data=st.data())
    def deny(self, data: st.DataObject) -> None:
        if (record := self._pick(data, OrderStatus.RECEIVED)) is not None:
            self.store.move(record.id, OrderStatus.DENIED, "UNITS_LIMIT_EXCEEDED")

    @rule(data=st.data(), reason=st.sampled_from(["OWNERSHIP_LOST", "TRADING_HALTED"]))
    def withhold(self, data: st.DataObject, reason: str) -> None:
        record = self._pick(data, OrderStatus.SUBMITTED)
        if record is not None and not self._is_at_venue(record) and record.id not in self.store.owed:
            self.store.move(record.id, OrderStatus.DENIED, reason)

    @rule(data=st.data())
    def refuse_without_a_transaction(self, data: st.DataObject) -> None:
        record = self._pick(data, OrderStatus.SUBMITTED)
        if record is not None and not self._is_at_venue(record) and record.id not in self.store.owed:
            self.store.move(record.id, OrderStatus.REJECTED, "REFUSED")

    @rule(data=st.data(), answered=st.booleans())
    def trade(self, data: st.DataObject, *, answered: bool) -> None:
        record = self._pick(data, *SENT)
        if record is None or self._is_at_venue(record) or record.id in self.store.owed:
            return
        number = len(self.log) + 1
        made = created(number, client_id=record.client_id), filled(number + 1, number, client_id=record.client_id)
        self._happen(record, made, answered=answered)

    @rule(data=st.data(), answered=st.booleans())
    def reject(self, data: st.DataObject, *, answered: bool) -> None:
        record = self._pick(data, *SENT)
        if record is not None and not self._is_at_venue(record) and record.id not in self.store.owed:
            refusal = rejected(len(self.log) + 1, "UNITS_LIMIT_EXCEEDED", client_id=record.client_id)
            self._happen(record, (refusal,), answered=answered)

    def _happen(self, record: OrderRecord, transactions: tuple[Transaction, ...], *, answered: bool) -> None:
        self.log += transactions
        if answered:
            self.store.fold(record.id, transactions)
        elif record.status is OrderStatus.SUBMITTED:
            self.store.move(record.id, OrderStatus.UNKNOWN, "ANSWER_LOST")

    def _is_at_venue(self, record: OrderRecord) -> bool:
        return any(item.client_id == record.client_id for item in self.log)

    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        record = self._pick(data, OrderStatus.UNKNOWN)
        if record is not None and not self._is_at_venue(record):
            self.store.move(record.id, OrderStatus.PRESUMED_ABSENT, "NOT_FOUND")

    @rule()
    def fill_the_disk(self) -> None:
        self.disk_is_full = True

    @precondition(lambda self: self.lease.unexpired)
    @rule()
    def free_the_disk(self) -> None:
        self.disk_is_full = False
        self.store.pay_owed()

    @rule(unexpired=st.booleans())
    def lose_the_account(self, *, unexpired: bool) -> None:
        self.lease.held, self.lease.unexpired = False, unexpired

    @rule(other_came_between=st.booleans())
    def take_the_account_again(self, *, other_came_between: bool) -> None:
        self._close()
        owed = self.store.owed
        if other_came_between:
            self._open({})
            self._close()
        self._open(owed)

    @rule()
    def kill(self) -> None:
        self._close()
        self._open({})

    @invariant()
    def final_words_stay(self) -> None:
        for name, status in self.told.items():
            record = self.store.index.get(name)
            assert record is not None, f"{name} was told as {status}, and is forgotten"
            now = record.status
            assert now is status or now in _reachable(status), f"{name} was told as {status}, and is {now}"
        for record in self.store.index:
            if record.status in TOLD and _is_shown(record.order):
                self.told[record.id] = record.status

    @invariant()
    def every_order_ends_once(self) -> None:
        assert not {name for name in self.store.owed if self.store.index[name].status.is_final}

    def teardown(self) -> None:
        self._close()
        shutil.rmtree(self.directory)


def _reachable(status: OrderStatus) -> set[OrderStatus]:
    return {after for (before, _), after in TABLE.items() if before is status}


def _is_shown(order: Order) -> bool:
    """False of an order that its caller was told as not taken: by no id of its own does anybody know it."""
    return holds_id(order)


TestFinalWords = FinalWords.TestCase
TestFinalWords.settings = settings(max_examples=60, stateful_step_count=40)
