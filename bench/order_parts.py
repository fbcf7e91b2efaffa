"""Parts of the time of `order_overhead_p50`: `python -m bench.order_parts`.

Microseconds of the pure steps of an order, each called again and again, and all of them once every 20 ms as at 50
orders a second, when other work has taken the caches meanwhile. Disk, sockets, threads and the loop are beside these.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from bench.orders import RATE, request
from broker.domain import Instrument, Order, OrderStatus, Quote
from broker.orders.checks import risk
from broker.orders.checks.market_view import MarketView
from broker.orders.model import lifecycle
from broker.orders.model.ids import ClientTag, caller_digest, order_id
from broker.orders.model.lifecycle import OrderRecord
from broker.orders.model.order_events import events_of
from broker.orders.model.trading_state import TradingState
from broker.orders.settings import OrderSettings
from broker.orders.store import journal
from broker.venue.v20 import order_requests as order_call
from broker.venue.v20.parse import parse_answer

ORDERS = 300
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
REQUEST = request(1)
SETTINGS = OrderSettings(directory=Path("orders"))


def received() -> OrderRecord:
    """An order gets its names."""
    name = order_id(1_795_000_000_000, 1 << 70)
    tag = ClientTag(owner="bench", epoch=1, order_id=name, caller=caller_digest("bench", "bench-1"))
    order = Order(id=name, request=REQUEST, status=OrderStatus.RECEIVED, created_at=NOW, updated_at=NOW)
    return OrderRecord(order=order, client_id=str(tag), checkpoint=1)


def market() -> MarketView:
    """The facts that the checks look at."""
    return MarketView(
        now=NOW,
        state=TradingState.ACTIVE,
        account=REQUEST.account,
        instrument=Instrument(
            name="EUR_USD",
            display_precision=5,
            units_precision=0,
            pip_location=-4,
            minimum_units=Decimal(1),
            maximum_units=Decimal(10**8),
            margin_rate=Decimal("0.03"),
        ),
        quote=Quote(instrument="EUR_USD", bid=Decimal("1.1"), ask=Decimal("1.1001"), time=NOW, received_at=NOW),
        prices_alive=True,
        conversion=Decimal(1),
        position=Decimal(0),
        day_profit=Decimal(0),
    )


def answer_of(record: OrderRecord) -> dict[str, Any]:
    """The venue's answer to an order that it filled."""
    common = {"time": "2026-11-24T12:00:00.000000000Z", "accountID": REQUEST.account, "instrument": "EUR_USD"}
    create = {"id": "2", "type": "MARKET_ORDER", "units": "100", "clientExtensions": {"id": record.client_id}}
    fill = {
        "id": "3", "type": "ORDER_FILL", "orderID": "2", "clientOrderID": record.client_id, "units": "100",
        "price": "1.1001", "pl": "0", "tradeOpened": {"tradeID": "3", "units": "100"},
    }  # fmt: skip
    transactions = {"orderCreateTransaction": create | common, "orderFillTransaction": fill | common}
    return {**transactions, "lastTransactionID": "3"}


def steps() -> dict[str, Callable[[], object]]:
    """The steps in the order in which an order takes them."""
    record, around = received(), market()
    submitted = record.moved(OrderStatus.SUBMITTED, NOW)
    body = answer_of(record)
    transactions = parse_answer(body).transactions
    filled = lifecycle.fold(submitted, transactions, NOW)
    assert filled.status is OrderStatus.FILLED
    assert risk.check(REQUEST, around, SETTINGS) is None

    def tell(before: OrderRecord | None, after: OrderRecord) -> list[tuple[Any, ...]]:
        price, instruments = Decimal("1.1"), {around.instrument.name: around.instrument} if around.instrument else {}
        events = events_of(before, after, instruments=instruments, decision_price=price, duration_s=0.02)
        return list(events)

    return {
        "receive": received,
        "tell_received": lambda: tell(None, record),
        "market": market,
        "checks": lambda: risk.check(REQUEST, around, SETTINGS),
        "submit": lambda: record.moved(OrderStatus.SUBMITTED, NOW),
        "intent_record": lambda: journal.encode_order(submitted),
        "request": lambda: json.dumps(order_call.create(replace(REQUEST), record.client_id).body).encode(),
        "parse": lambda: parse_answer(body),
        "fold": lambda: lifecycle.fold(submitted, transactions, NOW),
        "final_record": lambda: journal.encode_order(filled),
        "tell_filled": lambda: tell(submitted, filled),
    }


def measure() -> dict[str, dict[str, float]]:
    """Median microseconds of each step, hot and cold, and their sums."""
    taken: dict[str, dict[str, list[float]]] = {"hot": {}, "cold": {}}
    work = steps()
    for name, step in work.items():
        for _ in range(ORDERS):
            _take(taken["hot"].setdefault(name, []), step)
    for _ in range(ORDERS):
        time.sleep(1 / RATE)
        for name, step in work.items():
            _take(taken["cold"].setdefault(name, []), step)
    found = {
        state: {name: round(statistics.median(each), 1) for name, each in times.items()}
        for state, times in taken.items()
    }
    return {state: {**each, "all": round(sum(each.values()), 1)} for state, each in found.items()}


def _take(times: list[float], step: Callable[[], object]) -> None:
    started = time.perf_counter()
    step()
    times.append((time.perf_counter() - started) * 1e6)


if __name__ == "__main__":
    print(json.dumps(measure()))
