"""Orders and transactions for tests."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from broker.domain import Order, OrderRequest, OrderStatus, OrderType, Side
from broker.orders.dependencies import EngineDependencies
from broker.orders.model.lifecycle import OrderAction, OrderRecord
from broker.orders.settings import OrderSettings
from broker.orders.store.journal import OrderJournal
from broker.orders.store.order_store import OrderStore
from broker.orders.updates import Updates
from broker.venue.v20.transactions import Transaction, parse_transaction

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
CLIENT_ID = "bk.broker.1.01ORDER.caller"


class FakeLease:
    """A lease that does not run out; keeps the handover notes."""

    def __init__(self, epoch: int = 1) -> None:
        self.epoch = epoch
        self.notes: list[str] = []

    def is_unexpired(self) -> bool:
        return True

    def holds(self) -> bool:
        return True

    def hand_over(self, note: str) -> None:
        self.notes.append(note)


def make_settings(directory: Path, **fields: Any) -> OrderSettings:
    plain: dict[str, Any] = {"segment_bytes": 1 << 20, "keep_bytes": 1 << 20, "remember_orders": 10, "remember_s": 60}
    return OrderSettings(directory=directory, **(plain | fields))


def make_store(directory: Path, **fields: Any) -> OrderStore:
    """A store on the journal `directory/101`, without a venue."""
    nothing: Any = None
    lease: Any = FakeLease()
    dependencies = EngineDependencies(
        settings=make_settings(directory, **fields),
        lease=lease,
        venue=nothing,
        prices=nothing,
        conditions=nothing,
        updates=Updates(),
        emit=lambda _: None,
        clock=lambda: NOW,
        chance=lambda: 0.5,
    )
    return OrderStore(dependencies, "101")


def opened_journal(directory: Path, **sizes: int) -> tuple[OrderJournal, list[bytes]]:
    journal = OrderJournal(directory, make_settings(directory, **sizes), lambda _: None)
    held = journal.open()
    if not held:
        journal.rotate([b"z"])
    return journal, held


def make_request(**fields: Any) -> OrderRequest:
    plain: dict[str, Any] = {
        "client_order_id": "first",
        "client": "flow",
        "account": "101",
        "instrument": "EUR_USD",
        "type": OrderType.MARKET,
        "side": Side.BUY,
        "units": Decimal(100),
    }
    return OrderRequest(**(plain | fields))


def make_record(
    status: OrderStatus = OrderStatus.SUBMITTED,
    *,
    order_id: str = "01ORDER",
    client_id: str = CLIENT_ID,
    checkpoint: int = 0,
    action: OrderAction = OrderAction.CREATE,
    target: str | None = None,
    updated_at: datetime = NOW,
    venue_order_id: str | None = None,
    **request: Any,
) -> OrderRecord:
    order = Order(
        id=order_id,
        request=make_request(**request),
        status=status,
        created_at=NOW,
        updated_at=updated_at,
        venue_order_id=venue_order_id,
    )
    return OrderRecord(order=order, client_id=client_id, checkpoint=checkpoint, action=action, target=target)


def transaction(number: int, kind: str, **fields: Any) -> Transaction:
    return parse_transaction({"id": str(number), "type": kind, "time": "2026-01-05T12:00:00.123456789Z", **fields})


def created(number: int, kind: str = "MARKET_ORDER", client_id: str | None = CLIENT_ID, **fields: Any) -> Transaction:
    extensions = {"clientExtensions": {"id": client_id}} if client_id else {}
    return transaction(number, kind, instrument="EUR_USD", units="100", **extensions, **fields)


def filled(
    number: int, order: int, units: str = "100", client_id: str | None = CLIENT_ID, **fields: Any
) -> Transaction:
    plain = {"orderID": str(order), "clientOrderID": client_id, "instrument": "EUR_USD", "units": units}
    return transaction(number, "ORDER_FILL", **(plain | {"price": "1.10010", "pl": "-0.5000"} | fields))


def cancelled(number: int, order: int, reason: str, client_id: str | None = CLIENT_ID) -> Transaction:
    return transaction(number, "ORDER_CANCEL", orderID=str(order), clientOrderID=client_id, reason=reason)


def rejected(number: int, reason: str, client_id: str = CLIENT_ID) -> Transaction:
    return transaction(number, "MARKET_ORDER_REJECT", rejectReason=reason, clientExtensions={"id": client_id})
