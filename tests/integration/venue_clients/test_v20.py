"""v20 (OANDA's own, MIT) against the simulated venue: every endpoint that it offers."""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import dataclass
from typing import Any

import pytest
import v20
from v20.transaction import StopLossDetails, TakeProfitDetails

from broker.simulator.http.server import Simulator
from tests.integration.venue_clients.walk import Walks, closing

pytestmark = pytest.mark.real

USERS = "the venue has it for its own sites, and no page lists it"
PRICES = "the venue's pages do not list it, and the simulator keeps no history of prices"
WALKS = Walks(
    {
        "user.get_info": USERS,
        "user.get_external_info": USERS,
        "pricing.base_prices": PRICES,
        "pricing.get_price_range": PRICES,
        "instrument.price": PRICES,
        "instrument.prices": PRICES,
        "pricing.candles": "the library sends no account in its path; fivetwenty walks that endpoint",
    }
)
ENTITIES = ("account", "instrument", "order", "position", "pricing", "trade", "transaction", "user")


@dataclass(slots=True)
class Desk:
    ctx: v20.Context
    account: str

    def call(self, name: str, *parts: str, status: int = 200, at_venue: bool = False, **fields: Any) -> Any:
        """Call `entity.method`, of the account unless `at_venue`; returns the answer's objects."""
        entity, _, method = name.partition(".")
        names = parts if at_venue else (self.account, *parts)
        response = getattr(getattr(self.ctx, entity), method)(*names, **fields)
        assert response.status == status, response.raw_body
        return response

    def buy(self, **more: Any) -> str:
        fill = self.call("order.market", status=201, instrument="EUR_USD", units=100, **more).get(
            "orderFillTransaction"
        )
        return str(fill.tradeOpened.tradeID)

    def limit(self, **more: Any) -> str:
        made = self.call("order.limit", status=201, instrument="EUR_USD", units=100, price="1.08", **more)
        return str(made.get("orderCreateTransaction").id)


@WALKS.of("account.list")
def lists_accounts(desk: Desk) -> None:
    assert [item.id for item in desk.call("account.list", at_venue=True).get("accounts")] == [desk.account]


@WALKS.of("account.get", "account.summary")
def reads_an_account(desk: Desk) -> None:
    trade = desk.buy()
    assert [item.id for item in desk.call("account.get").get("account").trades] == [trade]
    assert desk.call("account.summary").get("account").openTradeCount == 1


@WALKS.of("account.instruments")
def lists_instruments(desk: Desk) -> None:
    found = desk.call("account.instruments", instruments="BTC_USD").get("instruments")
    assert [(item.name, item.minimumTradeSize) for item in found] == [("BTC_USD", 0.01)]


@WALKS.of("account.configure")
def configures_an_account(desk: Desk) -> None:
    assert desk.call("account.configure", marginRate="0.05").get("clientConfigureTransaction").marginRate == 0.05


@WALKS.of("account.changes")
def reads_changes(desk: Desk) -> None:
    order = desk.limit()
    found = desk.call("account.changes", sinceTransactionID="2")
    assert [item.id for item in found.get("changes").ordersCreated] == [order]
    assert found.get("state").NAV == 100_000


@WALKS.of("instrument.candles")
def reads_candles(desk: Desk) -> None:
    found = desk.call("instrument.candles", "EUR_USD", at_venue=True, granularity="D", count=3, price="M")
    assert [item.complete for item in found.get("candles")][:2] == [True, True]


@WALKS.of("instrument.order_book", "instrument.position_book")
def reads_books(desk: Desk) -> None:
    order_book = desk.call("instrument.order_book", "EUR_USD", at_venue=True).get("orderBook")
    position_book = desk.call("instrument.position_book", "EUR_USD", at_venue=True).get("positionBook")
    assert order_book.time == position_book.time


@WALKS.of("order.market")
def places_a_protected_market_order(desk: Desk) -> None:
    details = {"takeProfitOnFill": TakeProfitDetails(price="1.2"), "stopLossOnFill": StopLossDetails(price="1.0")}
    trade = desk.buy(**details)
    found = desk.call("trade.get", trade).get("trade")
    assert (found.takeProfitOrder.price, found.stopLossOrder.price) == (1.2, 1.0)


@WALKS.of("order.create")
def places_an_order_of_any_type(desk: Desk) -> None:
    order = {"type": "MARKET", "instrument": "EUR_USD", "units": "7"}
    assert desk.call("order.create", status=201, order=order).get("orderFillTransaction").units == 7


@WALKS.of("order.limit", "order.stop", "order.market_if_touched")
@WALKS.of("order.limit_replace", "order.stop_replace", "order.market_if_touched_replace")
def places_and_replaces_entries(desk: Desk) -> None:
    for kind, price in (("limit", "1.05"), ("stop", "1.15"), ("market_if_touched", "1.05")):
        fields: dict[str, Any] = {"instrument": "EUR_USD", "units": 5, "price": price, "triggerCondition": "MID"}
        made = desk.call(f"order.{kind}", status=201, **fields).get("orderCreateTransaction")
        new = desk.call(f"order.{kind}_replace", made.id, status=201, **fields).get("orderCreateTransaction")
        assert (new.replacesOrderID, new.triggerCondition) == (made.id, "MID")


@WALKS.of("order.take_profit", "order.stop_loss", "order.trailing_stop_loss")
@WALKS.of("order.take_profit_replace", "order.stop_loss_replace", "order.trailing_stop_loss_replace")
def places_and_replaces_protections(desk: Desk) -> None:
    trade = desk.buy()
    levels: dict[str, dict[str, Any]] = {
        "take_profit": {"price": "1.2"},
        "stop_loss": {"price": "1.0"},
        "trailing_stop_loss": {"distance": "0.01"},
    }
    for kind, level in levels.items():
        made = desk.call(f"order.{kind}", status=201, tradeID=trade, **level).get("orderCreateTransaction")
        new = desk.call(f"order.{kind}_replace", made.id, status=201, tradeID=trade, **level)
        assert new.get("orderCreateTransaction").replacesOrderID == made.id


@WALKS.of("order.replace")
def replaces_an_order_by_any(desk: Desk) -> None:
    order = {"type": "STOP", "instrument": "EUR_USD", "units": "5", "price": "1.15"}
    made = desk.call("order.replace", desk.limit(), status=201, order=order).get("orderCreateTransaction")
    assert made.type == "STOP_ORDER"


@WALKS.of("order.get", "order.list", "order.list_pending")
def reads_orders(desk: Desk) -> None:
    order = desk.limit()
    found = [desk.call("order.list").get("orders"), desk.call("order.list_pending").get("orders")]
    assert [[item.id for item in items] for items in found] == [[order], [order]]
    assert desk.call("order.get", order).get("order").state == "PENDING"


@WALKS.of("order.cancel")
def cancels_an_order(desk: Desk) -> None:
    order = desk.limit()
    assert desk.call("order.cancel", order).get("orderCancelTransaction").orderID == order


@WALKS.of("order.cancel")
def is_told_that_an_order_is_gone(desk: Desk) -> None:
    assert desk.call("order.cancel", "77", status=404).get("errorCode") == "ORDER_DOESNT_EXIST"


@WALKS.of("order.set_client_extensions")
def names_an_order(desk: Desk) -> None:
    order = desk.limit()
    desk.call("order.set_client_extensions", order, clientExtensions={"id": "mine"})
    assert desk.call("order.get", "@mine").get("order").id == order


@WALKS.of("position.get", "position.list", "position.list_open")
def reads_positions(desk: Desk) -> None:
    desk.buy()
    found = [desk.call("position.list").get("positions"), desk.call("position.list_open").get("positions")]
    assert [[item.long.units for item in items] for items in found] == [[100], [100]]
    assert desk.call("position.get", "EUR_USD").get("position").long.units == 100


@WALKS.of("position.close")
def closes_the_side_that_it_names(desk: Desk) -> None:
    desk.buy()
    assert desk.call("position.close", "EUR_USD", longUnits="ALL").get("longOrderFillTransaction").units == -100


@WALKS.of("position.close")
def is_refused_a_close_that_names_nothing(desk: Desk) -> None:
    """v20-python#24."""
    desk.buy()
    refused = desk.call("position.close", "EUR_USD", status=400)
    assert refused.get("errorMessage") == "Invalid JSON body, must be an object"


@WALKS.of("pricing.get")
def reads_prices(desk: Desk) -> None:
    found = desk.call("pricing.get", instruments="EUR_USD", includeHomeConversions=True)
    assert [(item.bids[0].price, item.asks[0].price) for item in found.get("prices")] == [(1.08493, 1.08507)]
    assert [item.currency for item in found.get("homeConversions")] == ["EUR", "USD"]


@WALKS.of("pricing.stream")
def streams_prices(desk: Desk) -> None:
    parts = desk.call("pricing.stream", instruments="EUR_USD", snapshot=True).parts()
    assert {kind for kind, _ in (next(parts), next(parts))} == {"pricing.ClientPrice", "pricing.PricingHeartbeat"}
    parts.close()


@WALKS.of("trade.get", "trade.list", "trade.list_open")
def reads_trades(desk: Desk) -> None:
    trade = desk.buy()
    found = [desk.call("trade.list").get("trades"), desk.call("trade.list_open").get("trades")]
    assert [[item.id for item in items] for items in found] == [[trade], [trade]]
    assert desk.call("trade.get", trade).get("trade").currentUnits == 100


@WALKS.of("trade.close")
def closes_a_part_of_a_trade(desk: Desk) -> None:
    assert desk.call("trade.close", desk.buy(), units="40").get("orderFillTransaction").tradeReduced.units == -40


@WALKS.of("trade.set_client_extensions")
def names_a_trade(desk: Desk) -> None:
    trade = desk.buy()
    desk.call("trade.set_client_extensions", trade, clientExtensions={"id": "mine"})
    assert desk.call("trade.get", "@mine").get("trade").id == trade


@WALKS.of("trade.set_dependent_orders")
def protects_a_trade_in_one_call(desk: Desk) -> None:
    answer = desk.call("trade.set_dependent_orders", desk.buy(), stopLoss=StopLossDetails(price="1.0"))
    assert answer.get("stopLossOrderTransaction").price == 1.0


@WALKS.of("transaction.get", "transaction.range", "transaction.since")
def reads_transactions(desk: Desk) -> None:
    desk.buy()
    one = desk.call("transaction.get", "4").get("transaction")
    ranged = desk.call("transaction.range", fromID="4", toID="4").get("transactions")
    since = desk.call("transaction.since", id="3").get("transactions")
    assert [[item.dict() for item in items] for items in (ranged, since)] == [[one.dict()]] * 2


@WALKS.of("transaction.list")
def is_given_pages_of_transactions(desk: Desk) -> None:
    assert len(desk.call("transaction.list", pageSize=1).get("pages")) == 2


@WALKS.of("transaction.stream")
def streams_transactions(desk: Desk) -> None:
    parts = desk.call("transaction.stream").parts()
    assert next(parts)[1].lastTransactionID == "2"
    desk.buy()
    types = [next(item for kind, item in parts if kind == "transaction.Transaction").type for _ in range(2)]
    assert types == ["MARKET_ORDER", "ORDER_FILL"]
    parts.close()


@WALKS.each
async def test_v20(simulator: Simulator, step: Any) -> None:
    host, _, port = simulator.rest_address.partition(":")
    ctx = v20.Context(host, int(port), ssl=False, token=simulator.token, stream_timeout=30, poll_timeout=30)
    with closing(ctx._session):
        await asyncio.to_thread(step, Desk(ctx, simulator.account))


def test_every_endpoint_of_v20_is_walked_or_named_with_a_reason() -> None:
    ctx = v20.Context("localhost")
    with closing(ctx._session):
        entities = {name: inspect.getmembers(getattr(ctx, name), inspect.ismethod) for name in ENTITIES}

    assert (
        WALKS.missing(
            {f"{name}.{method}" for name, methods in entities.items() for method, _ in methods if method[0] != "_"}
        )
        == set()
    )
