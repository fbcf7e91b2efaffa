from __future__ import annotations

import asyncio
import tempfile
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from broker.domain import Instrument, Order, OrderRequest, OrderStatus, OrderType, PositionFill, Quote, Side
from broker.orders.checks.context import Verdict
from broker.orders.checks.prices import QuoteBook
from broker.orders.checks.risk import is_exit
from broker.orders.conditions import Conditions
from broker.orders.dependencies import EngineDependencies
from broker.orders.engine import OrderEngine
from broker.orders.model.exposure import WORKING, ExposureBook, only_reduces
from broker.orders.model.lifecycle import OrderAction, OrderRecord
from broker.orders.model.trading_state import TradingState
from broker.orders.settings import RiskLimits
from broker.orders.updates import Updates
from broker.venue.errors import AnswerLostError, VenueRefusedError, WithheldError
from broker.venue.rest.rate_limit import Precedence
from broker.venue.settings import VenueSettings
from broker.venue.v20.order_requests import VenueCall
from broker.venue.v20.parse import OrderAnswer
from broker.venue.v20.transactions import Transaction, parse_transaction
from tests.unit.broker.orders.samples import FakeLease, make_request, make_settings

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
NAMES = ("EUR_USD", "USD_JPY")
LIMITS = RiskLimits(position_units=Decimal(1000), gross_exposure=Decimal(1500), open_orders=6)
STATES = (TradingState.ACTIVE,) * 4 + (TradingState.REDUCING,) * 5 + (TradingState.HALTED,)


@dataclass
class Sent:
    """A request that is on its way to the venue, and then its answer on its way back."""

    call: VenueCall
    guard: Callable[[], str | None]
    answer: asyncio.Future[OrderAnswer]
    made: list[Transaction] | None = None
    refused: bool = False


@dataclass
class VenueModel:
    """Nets positions, rests limit orders, and keeps REDUCE_ONLY; nothing happens before a step of the test."""

    state: Callable[[], TradingState]
    settings: VenueSettings = field(default_factory=lambda: VenueSettings(account="101"))
    position: defaultdict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    log: list[Transaction] = field(default_factory=list)
    resting: dict[str, dict[str, Any]] = field(default_factory=dict)
    on_the_way: list[Sent] = field(default_factory=list)
    on_the_way_back: list[Sent] = field(default_factory=list)
    # Of the streams, which do not run.
    tokens: Any = None
    connections: Any = None
    emit: Callable[[object], None] = lambda _: None
    chance: Callable[[], float] = lambda: 0.5
    has_moved: bool = False
    """True once a price is not 1 any more."""

    async def submit(
        self, call: VenueCall, _: Precedence = Precedence.OPEN, *, guard: Callable[[], str | None] = lambda: None
    ) -> OrderAnswer:
        sent = Sent(call, guard, asyncio.get_running_loop().create_future())
        self.on_the_way.append(sent)
        return await sent.answer

    def arrive(self, sent: Sent) -> None:
        self.on_the_way.remove(sent)
        if (reason := sent.guard()) is not None:
            sent.answer.set_exception(WithheldError(reason))
            return
        before = len(self.log)
        sent.refused = not self._act(sent.call)
        sent.made = self.log[before:]
        self.on_the_way_back.append(sent)

    def _act(self, call: VenueCall) -> bool:
        body: Any = call.body
        if call.operation == "close_position":
            name = call.path.split("/")[2]
            client = body.get("longClientExtensions") or body.get("shortClientExtensions")
            is_long = body["longUnits"] != "NONE"
            held = self.position[name]
            if held == 0 or (held > 0) != is_long:
                return False
            self._make(
                {"type": "MARKET", "instrument": name, "units": str(-held), "clientExtensions": client}
                | {"positionFill": "REDUCE_ONLY"}
            )
            return True
        if call.operation == "replace_order":
            target = call.path.split("/")[2]
            if target not in self.resting:
                return False
            self.cancel(target)
        self._make(body["order"])
        return True

    def _make(self, order: dict[str, Any]) -> None:
        created = self._write(f"{order['type']}_ORDER", **{key: value for key, value in order.items() if key != "type"})
        reducing = self.state() is TradingState.REDUCING
        self.resting[str(created.id)] = order | {"left": Decimal(order["units"]), "reducing": reducing}
        if order["type"] == "MARKET":
            self.fill(str(created.id), Decimal(1))

    def _write(self, kind: str, **fields: Any) -> Transaction:
        raw = {"id": str(len(self.log) + 1), "type": kind, "time": "2026-01-05T12:00:00Z", **fields}
        self.log.append(parse_transaction(raw))
        return self.log[-1]

    def cancel(self, order_id: str) -> None:
        client = self.resting.pop(order_id)["clientExtensions"]["id"]
        self._write("ORDER_CANCEL", orderID=order_id, clientOrderID=client, reason="CLIENT_REQUEST")

    def fill(self, order_id: str, share: Decimal) -> None:
        order = self.resting[order_id]
        name, held = order["instrument"], self.position[order["instrument"]]
        units = (order["left"] * share).to_integral_value()
        if order["positionFill"] == "REDUCE_ONLY":
            units = min(abs(units), abs(held)).copy_sign(units) if held * units < 0 else Decimal(0)
        if not units:
            self.cancel(order_id)
            return
        order["left"] -= units
        after = self.position[name] = held + units
        price = {"price": "1", "pl": "0"}
        client = order["clientExtensions"]["id"]
        self._write("ORDER_FILL", orderID=order_id, clientOrderID=client, instrument=name, units=str(units), **price)
        if order["reducing"]:
            assert abs(after) <= abs(held)
            assert after * held >= 0, "an order of the reducing state has turned the position"
        if not order["left"]:
            del self.resting[order_id]
        elif order["type"] == "MARKET":
            self.cancel(order_id)
        self.check_limits()

    def check_limits(self) -> None:
        assert all(abs(units) <= LIMITS.position_units for units in self.position.values())
        # A price that moves changes the worth of what is held: then the limit is kept by each entry (`check_entry`).
        assert self.has_moved or sum(map(abs, self.position.values())) <= LIMITS.gross_exposure


class Flow:
    """One run of the engine; each method is a step that something outside decides."""

    def __init__(self, directory: Path) -> None:
        self.prices = SimpleNamespace(book=QuoteBook(lambda: NOW), stream=SimpleNamespace(is_alive=True))
        self.prices.book.put(_quote(name, Decimal(1)) for name in NAMES)
        self.prices.book.conversions = dict.fromkeys(NAMES, Decimal(1))
        self.venue = VenueModel(lambda: self.engine.store.control.state)
        venue: Any = self.venue
        prices: Any = self.prices
        lease: Any = FakeLease()
        lease.holds = lambda: True
        dependencies = EngineDependencies(
            settings=make_settings(directory, account=LIMITS, circuit_failures=2, circuit_pause_s=0.0),
            lease=lease,
            venue=venue,
            prices=prices,
            conditions=Conditions(lambda: NOW),
            updates=Updates(),
            emit=lambda _: None,
            clock=lambda: NOW,
            chance=Random(1).random,
        )
        self.engine = OrderEngine(dependencies)
        self.engine.open("", {})
        journal: Any = self.engine.store.journal
        journal.begin_sync = lambda: None
        journal.wait_synced = _at_once
        self.engine.store.instruments = {name: _instrument(name) for name in NAMES}
        checks: Any = self.engine._checks
        self.judge: Callable[[OrderRecord, OrderRecord | None], Verdict] = checks.verdict
        checks.verdict = self.verdict
        self.delivered = 0
        self.numbers = 0
        self.placing: list[asyncio.Task[Order]] = []

    async def place(self, request: OrderRequest, **how: Any) -> Order:
        """Places an order as the service does, and judges its fate if it is an exit."""
        store = self.engine.store
        closes = how.get("action") is OrderAction.CLOSE_POSITION
        exits = is_exit(request, store.position(request.instrument), closes=closes)
        order = await self.engine.place(request, **how)
        if exits and order.status is OrderStatus.DENIED:
            assert order.reason == "TRADING_HALTED"
        return order

    def verdict(self, record: OrderRecord, replaced: OrderRecord | None) -> Verdict:
        found = self.judge(record, replaced)
        if found.denial is None and not found.is_exit:
            self.check_entry(record, replaced)
        return found

    def check_entry(self, record: OrderRecord, replaced: OrderRecord | None) -> None:
        """An entry that may widen a position leaves all of them within the limit at the prices of now."""
        others = [item for item in self.engine.store.index if item.status in WORKING and item is not replaced]
        before, after = self.widest(others), self.widest([*others, record])
        name = record.order.request.instrument
        assert after[name] <= before[name] or sum(after.values()) <= LIMITS.gross_exposure

    def widest(self, working: list[OrderRecord]) -> dict[str, Decimal]:
        """Worth of the largest position that each instrument can come to."""
        found = {}
        for name in NAMES:
            held, sides = self.engine.store.position(name), {Side.BUY: Decimal(0), Side.SELL: Decimal(0)}
            for item in working:
                request = item.order.request
                if request.instrument == name and not only_reduces(item):
                    against = max(Decimal(0), -held * request.side.sign)
                    turns = item.status is OrderStatus.RECEIVED and request.type is OrderType.MARKET
                    sides[request.side] += request.units - item.order.filled_units - (against if turns else 0)
            found[name] = max(max(Decimal(0), held * side.sign) + units for side, units in sides.items()) * self.price(
                name
            )
        return found

    def price(self, name: str) -> Decimal:
        quote = self.prices.book.quote(name)
        assert quote is not None
        return Decimal(quote.ask)

    def start(self, request: OrderRequest, **how: Any) -> None:
        self.placing.append(asyncio.create_task(self.place(request, **how)))

    def request(self, one: int, other: int, **fields: Any) -> OrderRequest:
        self.numbers += 1
        plain = {
            "client_order_id": str(self.numbers),
            "instrument": NAMES[other > 7],
            "side": (Side.BUY, Side.SELL)[other % 2],
            "units": Decimal(200 * (1 + one % 5)),
            "position_fill": PositionFill.REDUCE_ONLY if one == other else PositionFill.DEFAULT,
        }
        return make_request(**(plain | fields))

    def turns_are_on_their_way(self) -> bool:
        """True while a request that turned the position of our books is not in them yet."""
        sent = [item.call.body for item in self.venue.on_the_way] if self.venue.on_the_way else []
        return self.delivered < len(self.venue.log) or any(
            body is not None and body.get("order", {}).get("type") == "MARKET" for body in sent
        )

    def step(self, name: str, one: int, other: int) -> None:
        getattr(self, f"step_{name}")(one, other)

    def step_market(self, one: int, other: int) -> None:
        request = self.request(one, other)
        held = self.engine.store.position(request.instrument)
        turns = held * request.side.sign < 0 and request.units > abs(held)
        # What the docs say the limits cannot hold: others move the position while it is turned.
        if not (turns and (self.turns_are_on_their_way() or self.venue.resting)):
            self.start(request)

    def step_limit(self, one: int, other: int) -> None:
        self.start(self.request(one, other, type=OrderType.LIMIT, price=self.price(NAMES[other > 7])))

    def step_replace(self, one: int, other: int) -> None:
        target = self.resting_order(one)
        # A part that fills in between is another thing that the limits cannot hold.
        if target is not None and self.delivered == len(self.venue.log):
            instrument = self.venue.resting[target]["instrument"]
            changed = {"type": OrderType.LIMIT, "price": self.price(instrument), "instrument": instrument}
            self.start(self.request(one, other, **changed), action=OrderAction.REPLACE, target=target)

    def step_close(self, one: int, other: int) -> None:
        held = self.engine.store.position(NAMES[one % 2])
        if held and not self.turns_are_on_their_way():
            side = Side.SELL if held > 0 else Side.BUY
            fields = {"side": side, "units": abs(held), "position_fill": PositionFill.REDUCE_ONLY}
            request = self.request(one, other, instrument=NAMES[one % 2], **fields)
            self.start(request, action=OrderAction.CLOSE_POSITION)

    def step_arrive(self, one: int, _: int) -> None:
        if self.venue.on_the_way:
            self.venue.arrive(self.venue.on_the_way[one % len(self.venue.on_the_way)])

    def step_answer(self, one: int, other: int) -> None:
        if self.venue.on_the_way_back:
            sent = self.venue.on_the_way_back.pop(one % len(self.venue.on_the_way_back))
            self.answer(sent, lost=other == 0)

    def step_lose(self, one: int, _: int) -> None:
        if self.venue.on_the_way:
            sent = self.venue.on_the_way.pop(one % len(self.venue.on_the_way))
            sent.answer.set_exception(AnswerLostError("reset"))

    def step_stream(self, one: int, _: int) -> None:
        for item in self.venue.log[self.delivered :][:one]:
            self.engine.store.deliver(item)
            self.delivered += 1

    def step_fill(self, one: int, other: int) -> None:
        if (target := self.resting_order(one)) is not None:
            self.venue.fill(target, Decimal(1 + other) / 10)

    def step_cancel(self, one: int, _: int) -> None:
        if (target := self.resting_order(one)) is not None:
            self.venue.cancel(target)

    def step_prices(self, _: int, other: int) -> None:
        self.prices.stream.is_alive = other != 0

    def step_move(self, one: int, other: int) -> None:
        """Moves a price, which fills the orders that it has passed."""
        name, price = NAMES[other % 2], Decimal(5 + one) / 10
        self.venue.has_moved = True
        self.prices.book.put([_quote(name, price)])
        for order_id, order in list(self.venue.resting.items()):
            is_buy, limit = Decimal(order["units"]) > 0, Decimal(order["price"])
            is_passed = price <= limit if is_buy else price >= limit
            if order["instrument"] == name and is_passed and not self.is_replaced(order_id):
                self.venue.fill(order_id, Decimal(1))

    def step_state(self, one: int, _: int) -> None:
        self.engine.store.set_state(STATES[one], "test", "a step")

    def resting_order(self, number: int) -> str | None:
        """A resting order that no request on its way replaces."""
        resting = list(self.venue.resting)
        target = resting[number % len(resting)] if resting else None
        return None if target is None or self.is_replaced(target) else target

    def is_replaced(self, target: str) -> bool:
        return any(item.call.path == f"/orders/{target}" for item in self.venue.on_the_way)

    def answer(self, sent: Sent, *, lost: bool) -> None:
        if lost:
            sent.answer.set_exception(AnswerLostError("reset"))
        elif sent.refused:
            sent.answer.set_exception(VenueRefusedError("no such order or position", status=404))
        else:
            made = tuple(sent.made or ())
            sent.answer.set_result(OrderAnswer(transactions=made, last_transaction_id=len(self.venue.log)))

    def check_sums(self) -> None:
        index = self.engine.store.index
        anew = ExposureBook()
        for record in index:
            anew.add(record)
        assert {name: index.exposure.of(name) for name in NAMES} == {name: anew.of(name) for name in NAMES}
        opening = [item for item in self.venue.resting.values() if item["positionFill"] != "REDUCE_ONLY"]
        assert len(opening) <= LIMITS.open_orders


async def _at_once(_: int) -> None:
    return None


def _quote(name: str, price: Decimal) -> Quote:
    return Quote(instrument=name, bid=price, ask=price, time=NOW, received_at=NOW)


def _instrument(name: str) -> Instrument:
    return Instrument(
        name=name,
        display_precision=5,
        units_precision=0,
        pip_location=-4,
        minimum_units=Decimal(1),
        maximum_units=Decimal(10**6),
        margin_rate=Decimal("0.03"),
    )


STEPS = (
    *("market", "market", "market", "limit", "replace", "close"),
    *("arrive", "arrive", "arrive", "answer", "answer", "lose", "stream", "stream"),
    *("fill", "fill", "cancel", "prices", "state", "move"),
)
DIGITS = st.integers(0, 9)


TWO_EXITS_AT_ONCE = [
    *(("market", 3, 0), ("arrive", 0, 0), ("answer", 0, 1), ("stream", 9, 0), ("state", 5, 0)),
    *(("market", 2, 1), ("market", 2, 3), ("arrive", 0, 0), ("arrive", 0, 0)),
]


@settings(deadline=None)
@example(TWO_EXITS_AT_ONCE)
@given(st.lists(st.tuples(st.sampled_from(STEPS), DIGITS, DIGITS), min_size=20, max_size=120))
def test_no_limit_slips_and_no_exit_is_refused(steps: list[tuple[str, int, int]]) -> None:
    async def run() -> None:
        with tempfile.TemporaryDirectory() as directory:
            flow = Flow(Path(directory))
            async with flow.engine:
                for step in steps:
                    flow.step(*step)
                    for _ in range(6):
                        await asyncio.sleep(0)
                    flow.check_sums()
                for task in flow.placing:
                    if task.done():
                        task.result()
                    task.cancel()
                for task in flow.placing:
                    with suppress(asyncio.CancelledError):
                        await task

    asyncio.run(run())
