"""fivetwenty (MIT) against the simulated venue: every endpoint that it offers, read into its strict models of 2026."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from fivetwenty import AsyncClient
from fivetwenty._internal.environment import Environment
from fivetwenty.exceptions import FiveTwentyError
from fivetwenty.models import ClientExtensions

from broker.simulator.http.server import Simulator
from tests.integration.venue_clients.walk import Walks

pytestmark = pytest.mark.real

WALKS = Walks(absent={})
ENTITIES = ("accounts", "instruments", "orders", "positions", "pricing", "trades", "transactions")


@dataclass(slots=True)
class Desk:
    client: AsyncClient
    account: str

    async def call(self, name: str, *parts: Any, **fields: Any) -> Any:
        """Call `entity.method` of the account."""
        entity, _, method = name.partition(".")
        return await getattr(getattr(self.client, entity), method)(self.account, *parts, **fields)

    async def buy(self, **more: Any) -> str:
        fill = (await self.call("orders.post_market_order", "EUR_USD", 100, **more))["orderFillTransaction"]
        return str(fill.trade_opened.trade_id)

    async def limit(self) -> str:
        made = await self.call("orders.post_limit_order", "EUR_USD", 100, Decimal("1.08"))
        return str(made["orderCreateTransaction"].id)


@WALKS.of("accounts.get_accounts")
async def lists_accounts(desk: Desk) -> None:
    assert [item.id for item in await desk.client.accounts.get_accounts()] == [desk.account]


@WALKS.of("accounts.get_account", "accounts.get_account_summary")
async def reads_an_account(desk: Desk) -> None:
    trade = await desk.buy()
    account = (await desk.call("accounts.get_account"))["account"]
    summary = (await desk.call("accounts.get_account_summary"))["account"]
    assert [item.id for item in account.trades] == [trade]
    assert (summary.dividend_adjustment, summary.hedging_enabled) == (0, False)


@WALKS.of("accounts.get_account_instruments")
async def lists_instruments(desk: Desk) -> None:
    found = (await desk.call("accounts.get_account_instruments", instruments=["USD_JPY"]))["instruments"]
    assert [item.minimum_trailing_stop_distance for item in found] == [Decimal("0.050")]


@WALKS.of("accounts.patch_account_configuration")
async def configures_an_account(desk: Desk) -> None:
    answer = await desk.call("accounts.patch_account_configuration", alias="mine")
    assert answer["clientConfigureTransaction"].alias == "mine"


@WALKS.of("accounts.get_account_changes")
async def reads_changes_with_a_guaranteed_stop(desk: Desk) -> None:
    trade = await desk.buy()
    await desk.call("trades.put_trade_orders", trade, guaranteed_stop_loss={"price": "1.0"})
    found = await desk.call("accounts.get_account_changes", since_transaction_id="4")
    assert [item.type for item in found["changes"].orders_created] == ["GUARANTEED_STOP_LOSS"]


@WALKS.of("instruments.get_instrument_candles")
async def reads_candles(desk: Desk) -> None:
    found = await desk.client.instruments.get_instrument_candles("EUR_USD", granularity="D", count=2)
    assert [item.complete for item in found["candles"]] == [True, False]


@WALKS.of("pricing.get_account_instrument_candles", "pricing.get_latest_candles")
async def reads_an_account_s_candles(desk: Desk) -> None:
    ranged = await desk.call("pricing.get_account_instrument_candles", "EUR_USD", granularity="D", count=2)
    latest = await desk.call("pricing.get_latest_candles", ["EUR_USD:D:M"])
    assert latest["latestCandles"][0]["candles"] == ranged["candles"]


@WALKS.of("instruments.get_instrument_order_book", "instruments.get_instrument_position_book")
async def reads_books(desk: Desk) -> None:
    at = datetime(2026, 1, 5, 10, 7, tzinfo=UTC)
    order_book = (await desk.client.instruments.get_instrument_order_book("EUR_USD", time=at))["orderBook"]
    position_book = (await desk.client.instruments.get_instrument_position_book("EUR_USD", time=at))["positionBook"]
    assert order_book.time == position_book.time == datetime(2026, 1, 5, 10, 0, tzinfo=UTC)


@WALKS.of("orders.post_market_order")
async def places_a_protected_order(desk: Desk) -> None:
    trade = await desk.buy(take_profit=Decimal("1.2"), stop_loss=Decimal("1.0"))
    found = (await desk.call("trades.get_trade", trade))["trade"]
    assert (found.take_profit_order.price, found.stop_loss_order.price) == (Decimal("1.2"), Decimal("1.0"))


@WALKS.of("orders.post_limit_order", "orders.post_stop_order", "orders.post_market_if_touched_order")
async def places_orders_that_wait(desk: Desk) -> None:
    for kind, price in (("limit", "1.05"), ("stop", "1.15"), ("market_if_touched", "1.05")):
        made = await desk.call(f"orders.post_{kind}_order", "EUR_USD", 5, Decimal(price))
        assert made["orderCreateTransaction"].type == f"{kind.upper()}_ORDER"


@WALKS.of("orders.post_order", "orders.put_order")
async def places_and_replaces_any_order(desk: Desk) -> None:
    order = {"type": "STOP", "instrument": "EUR_USD", "units": "5", "price": "1.15", "timeInForce": "GTC"}
    made = (await desk.call("orders.post_order", order))["orderCreateTransaction"]
    new = (await desk.call("orders.put_order", made.id, order | {"price": "1.16"}))["orderCreateTransaction"]
    assert (new.replaces_order_id, new.price) == (made.id, Decimal("1.16"))


@WALKS.of("orders.post_order")
async def places_an_order_until_a_date_with_an_offset(desk: Desk) -> None:
    order = {"type": "LIMIT", "instrument": "EUR_USD", "units": "5", "price": "1.05", "timeInForce": "GTD"}
    made = await desk.call("orders.post_order", order | {"gtdTime": "2099-12-05T10:00:00.25+05:00"})
    assert made["orderCreateTransaction"].gtd_time == datetime(2099, 12, 5, 5, 0, 0, 250_000, tzinfo=UTC)


@WALKS.of("orders.get_order", "orders.get_orders", "orders.get_pending_orders")
async def reads_orders(desk: Desk) -> None:
    order = await desk.limit()
    listed = (await desk.call("orders.get_orders"))["orders"]
    pending = (await desk.call("orders.get_pending_orders"))["orders"]
    assert [item.id for item in listed] == [item.id for item in pending] == [order]
    assert (await desk.call("orders.get_order", order))["order"].state == "PENDING"


@WALKS.of("orders.cancel_order")
async def cancels_an_order(desk: Desk) -> None:
    order = await desk.limit()
    assert (await desk.call("orders.cancel_order", order))["orderCancelTransaction"].order_id == order


@WALKS.of("orders.cancel_order")
async def is_told_that_an_order_is_gone(desk: Desk) -> None:
    with pytest.raises(FiveTwentyError, match="does not exist"):
        await desk.call("orders.cancel_order", "77")


@WALKS.of("orders.put_order_client_extensions")
async def names_an_order_and_its_trade(desk: Desk) -> None:
    order = await desk.limit()
    own, later = ClientExtensions(id="mine"), ClientExtensions(tag="later")
    name = "orders.put_order_client_extensions"
    await desk.call(name, order, client_extensions=own)
    await desk.call(name, order, trade_client_extensions=later)
    found = (await desk.call("orders.get_order", "@mine"))["order"]
    assert (found.id, found.trade_client_extensions.tag) == (order, "later")


@WALKS.of("positions.get_positions", "positions.get_open_positions", "positions.get_position")
async def reads_positions(desk: Desk) -> None:
    await desk.buy()
    listed = (await desk.call("positions.get_positions"))["positions"]
    opened = (await desk.call("positions.get_open_positions"))["positions"]
    assert listed == opened == [(await desk.call("positions.get_position", "EUR_USD"))["position"]]


@WALKS.of("positions.close_position")
async def closes_the_side_that_it_names(desk: Desk) -> None:
    await desk.buy()
    closed = await desk.call("positions.close_position", "EUR_USD", long_units="ALL")
    assert closed["longOrderFillTransaction"].units == -100


@WALKS.of("pricing.get_pricing")
async def reads_prices_and_home_conversions(desk: Desk) -> None:
    found = await desk.call("pricing.get_pricing", ["EUR_USD"], include_home_conversions=True)
    assert [bucket.liquidity for bucket in found["prices"][0].bids] == [10_000_000, 20_000_000, 30_000_000]
    assert [item.currency for item in found["homeConversions"]] == ["EUR", "USD"]


@WALKS.of("pricing.get_pricing_stream")
async def streams_prices(desk: Desk) -> None:
    stream = desk.client.pricing.get_pricing_stream(desk.account, ["EUR_USD"])
    kinds = {(await anext(stream)).type for _ in range(2)}
    await stream.aclose()
    assert kinds == {"PRICE", "HEARTBEAT"}


@WALKS.of("pricing.stream_pricing_with_retries")
async def streams_prices_with_retries(desk: Desk) -> None:
    stream = desk.client.pricing.stream_pricing_with_retries(desk.account, ["EUR_USD"])
    item, _ = await anext(stream)
    await stream.aclose()
    assert item.type in ("PRICE", "HEARTBEAT")


@WALKS.of("trades.get_trades", "trades.get_open_trades", "trades.get_trade")
async def reads_trades(desk: Desk) -> None:
    trade = await desk.buy()
    listed = (await desk.call("trades.get_trades"))["trades"]
    opened = (await desk.call("trades.get_open_trades"))["trades"]
    assert [item.id for item in listed] == [item.id for item in opened] == [trade]
    assert (await desk.call("trades.get_trade", trade))["trade"].current_units == 100


@WALKS.of("trades.close_trade")
async def closes_a_part_of_a_trade(desk: Desk) -> None:
    closed = await desk.call("trades.close_trade", await desk.buy(), units="40")
    assert closed["orderFillTransaction"].trade_reduced.units == -40


@WALKS.of("trades.put_trade_client_extensions")
async def names_a_trade(desk: Desk) -> None:
    trade = await desk.buy()
    await desk.call("trades.put_trade_client_extensions", trade, client_extensions=ClientExtensions(id="mine"))
    assert (await desk.call("trades.get_trade", "@mine"))["trade"].id == trade


@WALKS.of("trades.put_trade_orders")
async def changes_a_part_of_a_protection(desk: Desk) -> None:
    """Its documentation: fields that are left out are those of the order that is replaced."""
    trade = await desk.buy(take_profit=Decimal("1.2"))
    changed = await desk.call("trades.put_trade_orders", trade, take_profit={"clientExtensions": {"tag": "t"}})
    assert changed["takeProfitOrderTransaction"].price == Decimal("1.2")


@WALKS.of("transactions.get_transaction", "transactions.get_transactions_range")
@WALKS.of("transactions.get_transactions_since_id", "transactions.get_recent_transactions")
async def reads_transactions(desk: Desk) -> None:
    await desk.buy()
    one = (await desk.call("transactions.get_transaction", "4"))["transaction"]
    ranged = await desk.call("transactions.get_transactions_range", "4", "4")
    since = await desk.call("transactions.get_transactions_since_id", "3")
    recent = await desk.call("transactions.get_recent_transactions", count=1)
    assert [found["transactions"] for found in (ranged, since, recent)] == [[one]] * 3


@WALKS.of("transactions.get_transactions")
async def is_given_pages_of_a_time(desk: Desk) -> None:
    since = datetime.now(UTC) - timedelta(hours=1)
    assert (await desk.call("transactions.get_transactions", from_time=since))["count"] == 2


@WALKS.of("transactions.get_transactions_stream")
async def streams_transactions(desk: Desk) -> None:
    stream = desk.client.transactions.get_transactions_stream(desk.account)
    assert (await anext(stream)).last_transaction_id == "2"
    await desk.buy()
    types: list[str] = []
    while len(types) < 2:
        item = await anext(stream)
        types += [item.type] if item.type != "HEARTBEAT" else []
    await stream.aclose()
    assert types == ["MARKET_ORDER", "ORDER_FILL"]


@WALKS.each
async def test_fivetwenty(simulator: Simulator, monkeypatch: pytest.MonkeyPatch, step: Any) -> None:
    monkeypatch.setattr(Environment, "base_url", property(lambda _: f"{simulator.rest_url}/v3"))
    monkeypatch.setattr(Environment, "stream_url", property(lambda _: f"{simulator.stream_url}/v3"))
    async with AsyncClient(simulator.token, account_id=simulator.account, max_retries=0) as client:
        await step(Desk(client, simulator.account))


async def test_every_endpoint_of_fivetwenty_is_walked() -> None:
    async with AsyncClient("token", account_id="101-004-1234567-001") as client:
        entities = {name: inspect.getmembers(getattr(client, name), inspect.ismethod) for name in ENTITIES}
    offered = {f"{name}.{method}" for name, methods in entities.items() for method, _ in methods if method[0] != "_"}

    assert WALKS.missing(offered) == set()
