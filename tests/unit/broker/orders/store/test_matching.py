"""Every transaction of the venue's log ends at the order that it is about, whatever was lost and in whatever order."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from broker.domain import OrderStatus, OrderType
from broker.orders.model import lifecycle
from broker.orders.model.lifecycle import OrderAction, OrderRecord
from broker.orders.store import journal
from broker.venue.v20.transactions import Transaction
from tests.unit.broker.orders.samples import NOW, cancelled, created, filled, make_record, make_store, transaction

LIMIT: dict[str, Any] = {"type": OrderType.LIMIT, "price": Decimal("1.1")}
PLANS: dict[str, str] = {
    # Letters: what the venue does with the order; the part before the dot is one batch, which an answer tells.
    "market": "CF.",
    "market_in_part": "Cf.",
    "market_in_part_and_rest": "CfX.",
    "market_killed": "CX.",
    "limit_rests": "C.",
    "limit_in_parts": "C.fg",
    "limit_ends_in_part": "C.fX",
    "limit_replaces": "XC.F",
    "refused": "R.",
    "position": "CF.",
    "trade": "CF.",
    "trade_killed": "CX.",
    "trade_refused": "R.",
    "absent": ".",
}
UNITS = {"F": "-100", "f": "-60", "g": "-40"}


@dataclass(slots=True)
class VenueOrderPlan:
    """One order at the venue, of ours or another program's, and what the log says of it."""

    number: int
    kind: str
    ours: bool
    trade: str
    close_units: Decimal | None
    replaces: VenueOrderPlan | None = None
    checkpoint: int | None = None
    """None: not sent yet."""
    steps: str = ""
    told: list[Transaction] = field(default_factory=list)
    batch: list[Transaction] = field(default_factory=list)
    is_answered: bool = False

    @property
    def id(self) -> str:
        return f"01ORDER{self.number:03}"

    @property
    def client_id(self) -> str | None:
        return f"bk.broker.1.{self.id}.caller" if self.ours and not self.kind.startswith("trade") else None

    def record(self) -> OrderRecord:
        actions = {
            "position": OrderAction.CLOSE_POSITION,
            "trade": OrderAction.CLOSE_TRADE,
            "replaces": OrderAction.REPLACE,
        }
        action = next((actions[part] for part in self.kind.split("_") if part in actions), OrderAction.CREATE)
        record = make_record(
            order_id=self.id,
            client_id=f"bk.broker.1.{self.id}.caller",
            client_order_id=self.id,
            checkpoint=self.checkpoint or 0,
            action=action,
            target=self.trade if action is OrderAction.CLOSE_TRADE else None,
            **(LIMIT if self.kind.startswith("limit") else {}),
        )
        return replace(record, close_units=self.close_units)

    def act(self, step: str, number: int) -> Transaction:
        """The next transaction, with the log's next id."""
        made = next((item.id for item in self.told if item.is_create), 0)
        is_close = self.kind.startswith("trade")
        units = "ALL" if self.close_units is None else str(self.close_units)
        close: dict[str, Any] = {"tradeClose": {"tradeID": self.trade, "units": units}} if is_close else {}
        if step == "C":
            kind = "LIMIT_ORDER" if self.kind.startswith("limit") else "MARKET_ORDER"
            return created(number, kind, client_id=self.client_id, **close)
        if step == "R":
            extensions = {"clientExtensions": {"id": self.client_id}} if self.client_id else {}
            return transaction(number, "MARKET_ORDER_REJECT", rejectReason="REFUSED", **extensions, **close)
        if step == "X" and not made and self.replaces is not None:
            old = next(item.id for item in self.replaces.told if item.is_create)
            ended = cancelled(number, old, "CLIENT_REQUEST_REPLACED", client_id=self.replaces.client_id)
            self.replaces.told.append(ended)
            self.replaces.steps = ""
            return ended
        if step == "X":
            return cancelled(number, made, "ENDED", client_id=self.client_id)
        part = {"tradeReduced": {"tradeID": self.trade, "units": UNITS[step]}} if is_close else {}
        reason = "MARKET_ORDER_TRADE_CLOSE" if is_close else "MARKET_ORDER"
        return filled(number, made, units=UNITS[step], client_id=self.client_id, reason=reason, **part)


@dataclass
class Day:
    """A venue, a store that follows it, and a generator that decides what happens next."""

    chance: random.Random
    directory: Path
    restarts: bool
    log: list[Transaction] = field(default_factory=list)
    delivered: int = 0

    def __post_init__(self) -> None:
        self.plans = list(self._plans())
        self.store = make_store(self.directory)
        self.store.open()

    def _plans(self) -> Iterator[VenueOrderPlan]:
        limits: list[VenueOrderPlan] = []
        for number in range(self.chance.randrange(1, 9)):
            kind = self.chance.choice(sorted(PLANS))
            replaced = self.chance.choice(limits) if limits and kind == "limit_replaces" else None
            if kind == "limit_replaces" and replaced is None:
                kind = "limit_rests"
            plan = VenueOrderPlan(
                number,
                kind,
                ours=self.chance.random() < 0.8 or kind == "limit_replaces",
                trade=self.chance.choice("45"),
                close_units=self.chance.choice([None, Decimal(100)]) if kind.startswith("trade") else None,
                replaces=replaced,
                steps=PLANS[kind].partition(".")[2],
            )
            if replaced is not None:
                limits.remove(replaced)
            elif kind == "limit_rests" and plan.ours:
                limits.append(plan)
            yield plan

    def status(self, plan: VenueOrderPlan) -> OrderStatus | None:
        record = self.store.index.get(plan.id)
        return record.status if record is not None else None

    def run(self) -> None:
        for _ in range(120):
            getattr(
                self, self.chance.choice(["send", "send", "work", "deliver", "answer", "lose", "scan", "restart"])
            )()
        for plan in self.plans:
            self.send(plan)
        while any(plan.steps for plan in self.plans):
            self.work()
        while self.delivered < len(self.log):
            self.deliver()
        for plan in self.plans:
            self.lose(plan)
        for plan in self.plans:
            self.scan(plan, whole=True)

    def some(self, *statuses: OrderStatus) -> VenueOrderPlan | None:
        found = [plan for plan in self.plans if plan.ours and self.status(plan) in statuses]
        return self.chance.choice(found) if found else None

    def send(self, plan: VenueOrderPlan | None = None) -> None:
        """Send an order; the venue acts on it now or, if it is late, with its next work."""
        plan = plan or next((item for item in self.plans if item.checkpoint is None), None)
        if plan is None or plan.checkpoint is not None:
            return
        if plan.replaces is not None and not any(item.is_create for item in plan.replaces.told):
            return
        plan.checkpoint = len(self.log)
        if plan.ours:
            self.store.put_intent(plan.record())
        plan.steps = PLANS[plan.kind].replace(".", "|") if plan.kind != "absent" else ""

    def work(self) -> None:
        busy = [item for item in self.plans if item.steps and item.checkpoint is not None]
        if not busy:
            return
        plan = self.chance.choice(busy)
        head, bar, rest = plan.steps.partition("|")
        # What the answer tells is one batch: nothing of another order comes between.
        steps, plan.steps = (head, rest) if bar else (plan.steps[0], plan.steps[1:])
        for step in steps:
            item = plan.act(step, len(self.log) + 1)
            self.log.append(item)
            if not (plan.replaces is not None and item.order_id not in (None, *(str(own.id) for own in plan.told))):
                plan.told.append(item)
            if bar:
                plan.batch.append(item)

    def deliver(self) -> None:
        if self.delivered < len(self.log):
            self.store.deliver(self.log[self.delivered])
            self.delivered += 1

    def answer(self) -> None:
        plan = self.some(OrderStatus.SUBMITTED)
        if plan is None or not plan.batch:
            return
        plan.is_answered = True
        self.store.fold(plan.id, tuple(plan.batch))
        for item in plan.batch:
            other = self.store.index.about(item)
            if other is not None and other.id != plan.id:
                self.store.fold(other.id, tuple(plan.batch))

    def lose(self, plan: VenueOrderPlan | None = None) -> None:
        plan = plan or self.some(OrderStatus.SUBMITTED)
        if plan is None or self.status(plan) is not OrderStatus.SUBMITTED:
            return
        held = self.store.fold(plan.id, ())
        if held.status is OrderStatus.SUBMITTED:
            self.store.put(held.moved(OrderStatus.UNKNOWN, NOW, reason="ANSWER_LOST"))

    def scan(self, plan: VenueOrderPlan | None = None, *, whole: bool = False) -> None:
        plan = plan or self.some(OrderStatus.UNKNOWN)
        if plan is None or self.status(plan) is not OrderStatus.UNKNOWN:
            return
        after = plan.checkpoint or 0
        end = len(self.log) if whole else self.chance.randint(after, len(self.log))
        self.store.search(plan.id, tuple(self.log[after:end]))

    def restart(self) -> None:
        """kill -9, also between the record of a transaction and that of its order."""
        if not self.restarts:
            return
        if self.delivered < len(self.log) and self.chance.random() < 0.5:
            self.store.journal.append(journal.encode_transaction(self.log[self.delivered].raw))
            self.delivered += 1
        asyncio.run(self.store.journal.close())
        self.store = make_store(self.directory)
        self.store.open()
        for record in self.store.index.with_status(OrderStatus.SUBMITTED):
            self.store.move(record.id, OrderStatus.UNKNOWN, "RESTARTED")


@contextmanager
def day(seed: int, *, restarts: bool) -> Iterator[Day]:
    with tempfile.TemporaryDirectory() as directory:
        found = Day(random.Random(seed), Path(directory), restarts)
        try:
            yield found
        finally:
            asyncio.run(found.store.journal.close())


def check(found: Day) -> None:
    found.run()
    records = list(found.store.index)
    fills = Counter(fill.transaction_id for record in records for fill in record.order.fills)
    assert fills == Counter(str(item.id) for item in found.log if item.is_fill)
    made = Counter(record.order.venue_order_id for record in records if record.order.venue_order_id is not None)
    assert made == Counter(str(item.id) for item in found.log if item.is_create)
    # Closes that lost their answers, or are another program's, and look alike may stand for one another.
    alike = Counter(
        (plan.trade, plan.close_units) for plan in found.plans if not plan.is_answered and plan.kind.startswith("trade")
    )
    for plan in found.plans:
        if not plan.ours or (not plan.is_answered and alike[(plan.trade, plan.close_units)] > 1):
            continue
        want = lifecycle.fold(plan.record(), plan.told, NOW).order
        if plan.kind == "absent":
            want = replace(want, status=OrderStatus.UNKNOWN)
        have = found.store.index[plan.id].order
        assert (have.status, have.venue_order_id, have.fills) == (want.status, want.venue_order_id, want.fills), plan


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 2**32))
def test_every_transaction_is_matched_whatever_arrives_when(seed: int) -> None:
    with day(seed, restarts=False) as found:
        check(found)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32))
def test_every_transaction_is_matched_over_kills(seed: int) -> None:
    with day(seed, restarts=True) as found:
        check(found)
