from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

from broker.domain import OrderStatus, OrderType, Side
from broker.orders.model.ids import ClientTag, client_digest
from broker.orders.model.lifecycle import OrderAction, fold
from broker.orders.store.trade_book import TradeOwner
from broker.venue.v20.parse import VenueTrade, parse_trade
from tests.unit.broker.orders.samples import NOW, created, filled, make_record, make_store, transaction

STOP: dict[str, Any] = {"type": OrderType.STOP_LOSS, "instrument": "", "units": Decimal(0), "trade_id": "8"}


def venue_trade(units: str = "600") -> VenueTrade:
    raw = {"id": "8", "instrument": "EUR_USD", "currentUnits": units, "price": "1.1", "openTime": "1767607200"}
    return parse_trade(raw)


def test_journal_before_the_book_of_trades_gives_stops_their_trade_and_their_client(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    store.open()
    store.put(fold(make_record(), [created(7), filled(8, 7)], NOW))
    store.put(
        make_record(
            OrderStatus.PENDING,
            order_id="venue-9",
            client_id="venue:9",
            venue_order_id="9",
            client="external",
            action=OrderAction.ADOPTED,
            **STOP,
        )
    )
    store.set_trades([venue_trade()], 20)

    assert store.owners.unknown() == []
    request = store.index["venue-9"].order.request
    assert (request.client, request.instrument, request.side, request.units) == (
        "flow",
        "EUR_USD",
        Side.SELL,
        Decimal(600),
    )


def test_trade_that_another_program_opened_is_asked_about_once(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    store.open()
    store.set_trades([venue_trade()], 20)
    assert [trade.id for trade in store.owners.unknown()] == ["8"]
    store.owners.learn(filled(8, 7, client_id="by-hand"))
    assert store.owners.unknown() == []
    trade = store.trades.get("8")
    assert trade is not None
    assert trade.owner == TradeOwner(order_id="venue-7")


def test_order_of_a_trade_by_another_client_stays_its_own(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    store.open()
    store.put(fold(make_record(), [created(7), filled(8, 7)], NOW))
    store.deliver(filled(8, 7, tradeOpened={"tradeID": "8", "units": "100"}))
    tag = ClientTag(owner="broker", epoch=1, order_id="02STOP", caller="c", client=client_digest("guard"))
    raw = {"tradeID": "8", "price": "1.09", "clientExtensions": {"id": str(tag)}}
    store.deliver(transaction(9, "STOP_LOSS_ORDER", **raw))
    store.owners.claim("flow")
    assert store.index["02STOP"].order.request.client == "external"
    store.owners.claim("guard")
    assert store.index["02STOP"].order.request.client == "guard"
