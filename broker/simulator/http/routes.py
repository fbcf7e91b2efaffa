"""Every endpoint of the simulated v20: what it reads of a request, and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from broker.simulator.account import configuration, trading
from broker.simulator.account import transaction_log as ledger
from broker.simulator.clock import rfc3339
from broker.simulator.http.answers import absent, shown
from broker.simulator.http.context import Answer, Context
from broker.simulator.market import books, candles
from broker.simulator.market.instruments import LISTINGS
from broker.simulator.market.market import HOME
from broker.simulator.v20 import payloads as wire


def accounts(ask: Context) -> Answer:
    """GET /accounts."""
    return 200, {"accounts": [{"id": name, "tags": []} for name in ask.venue.accounts]}


def account(ask: Context) -> Answer:
    """GET /accounts/{id}."""
    return 200, shown(ask.book, account=wire.account(ask.book, ask.venue.market.prices))


def summary(ask: Context) -> Answer:
    """GET summary."""
    return 200, shown(ask.book, account=wire.summary(ask.book, ask.venue.market.prices))


def instruments(ask: Context) -> Answer:
    """GET instruments."""
    names = ask.names(required=False)
    return 200, shown(ask.book, instruments=[LISTINGS[name].wire() for name in names])


def configure(ask: Context) -> Answer:
    """PATCH configuration."""
    return 200, configuration.configure(ask.rules, ask.body)


def changes(ask: Context) -> Answer:
    """GET changes."""
    return 200, shown(ask.book, **ledger.changes(ask.book, ask.query, ask.venue.market.prices))


def create_order(ask: Context) -> Answer:
    """POST orders."""
    return 201, trading.place(ask.rules, ask.body)


def orders(ask: Context) -> Answer:
    """GET orders: the newest first."""
    state, wanted = ask.query.get("state", "PENDING"), ask.query.get("ids")
    ids = set(wanted.split(",")) if wanted else None
    before = ledger.whole(ask.query["beforeID"], "beforeID") if "beforeID" in ask.query else None
    found = [
        item
        for item in (ask.book.pending() if state == "PENDING" else ask.book.orders.values())
        if (state in ("ALL", item.state))
        and (ids is None or item.id in ids)
        and ask.query.get("instrument") in (None, item.spec.instrument)
        and (before is None or int(item.id) < before)
    ]
    return 200, shown(ask.book, orders=[wire.order(item) for item in found[::-1][: ask.count]])


def pending_orders(ask: Context) -> Answer:
    """GET pendingOrders."""
    return 200, shown(ask.book, orders=[wire.order(item) for item in ask.book.pending()[::-1]])


def order(ask: Context) -> Answer:
    """GET orders/{spec}: by client id only what waits, as at the venue."""
    specifier = ask.parts["order"]
    found = trading.waiting(ask.book, specifier) if specifier.startswith("@") else ask.book.orders.get(specifier)
    if found is None or int(found.id) > ask.venue.visible(ask.book, ask.lag_s):
        raise absent("NO_SUCH_ORDER", "The order ID specified does not exist")
    return 200, shown(ask.book, order=wire.order(found))


def replace_order(ask: Context) -> Answer:
    """PUT orders/{spec}."""
    return 201, trading.replace(ask.rules, ask.parts["order"], ask.body)


def cancel_order(ask: Context) -> Answer:
    """PUT orders/{spec}/cancel."""
    return 200, trading.cancel(ask.rules, ask.parts["order"])


def modify_order(ask: Context) -> Answer:
    """PUT orders/{spec}/clientExtensions."""
    return 200, trading.modify_order(ask.rules, ask.parts["order"], ask.body)


def trades(ask: Context) -> Answer:
    """GET trades: the newest first."""
    state, wanted = ask.query.get("state", "OPEN"), ask.query.get("ids")
    ids = set(wanted.split(",")) if wanted else None
    before = ledger.whole(ask.query["beforeID"], "beforeID") if "beforeID" in ask.query else None
    found = [
        item
        for item in (ask.book.open_trades() if state == "OPEN" else ask.book.trades.values())
        if state in ("ALL", item.state)
        and (ids is None or item.id in ids)
        and ask.query.get("instrument") in (None, item.instrument)
        and (before is None or int(item.id) < before)
    ]
    prices = ask.venue.market.prices
    return 200, shown(ask.book, trades=[wire.trade(item, ask.book, prices) for item in found[::-1][: ask.count]])


def open_trades(ask: Context) -> Answer:
    """GET openTrades."""
    prices = ask.venue.market.prices
    return 200, shown(ask.book, trades=[wire.trade(item, ask.book, prices) for item in ask.book.open_trades()[::-1]])


def trade(ask: Context) -> Answer:
    """GET trades/{spec}."""
    specifier = ask.parts["trade"]
    found = trading.open_trade(ask.book, specifier) or ask.book.trades.get(specifier)
    if found is None:
        raise absent("NO_SUCH_TRADE", "The trade ID specified does not exist")
    return 200, shown(ask.book, trade=wire.trade(found, ask.book, ask.venue.market.prices))


def close_trade(ask: Context) -> Answer:
    """PUT trades/{spec}/close."""
    return 200, trading.close_trade(ask.rules, ask.parts["trade"], ask.body)


def modify_trade(ask: Context) -> Answer:
    """PUT trades/{spec}/clientExtensions."""
    return 200, trading.modify_trade(ask.rules, ask.parts["trade"], ask.body)


def protect_trade(ask: Context) -> Answer:
    """PUT trades/{spec}/orders."""
    return 200, trading.protect(ask.rules, ask.parts["trade"], ask.body)


def positions(ask: Context) -> Answer:
    """GET positions: every instrument that was ever traded."""
    return 200, shown(ask.book, positions=[_position(ask, name) for name in ask.book.traded()])


def open_positions(ask: Context) -> Answer:
    """GET openPositions."""
    return 200, shown(ask.book, positions=[_position(ask, name) for name in ask.book.instruments()])


def position(ask: Context) -> Answer:
    """GET positions/{instrument}: zeros once it was traded, 404 before."""
    name = ask.instrument
    if name not in ask.book.traded():
        raise absent("NO_SUCH_POSITION", "The Position specified does not exist")
    return 200, shown(ask.book, position=_position(ask, name))


def close_position(ask: Context) -> Answer:
    """PUT positions/{instrument}/close."""
    return 200, trading.close_position(ask.rules, ask.instrument, ask.body)


def pricing(ask: Context) -> Answer:
    """GET pricing."""
    prices = ask.venue.market.prices
    found: dict[str, Any] = {
        "time": rfc3339(ask.venue.clock.now_ns()),
        "prices": [wire.price(prices[name], prices) for name in ask.names(required=True)],
    }
    if ask.query.get("includeHomeConversions", "").lower() == "true":
        quotes = sorted({LISTINGS[item["instrument"]].quote_currency for item in found["prices"]} | {HOME})
        found["homeConversions"] = [wire.home_conversion(name, prices) for name in quotes]
    return 200, found


def transaction_pages(ask: Context) -> Answer:
    """GET transactions: addresses of pages."""
    now = rfc3339(ask.venue.clock.now_ns())
    return 200, ask.seen(**ledger.pages(ask.log, ask.query, ask.path, now))


def transaction(ask: Context) -> Answer:
    """GET transactions/{id}."""
    return 200, ask.seen(transaction=ledger.one(ask.log, ask.parts["transaction"]))


def transaction_range(ask: Context) -> Answer:
    """GET transactions/idrange."""
    return 200, ask.seen(transactions=ledger.between(ask.log, ask.query))


def transactions_since(ask: Context) -> Answer:
    """GET transactions/sinceid."""
    return 200, ask.seen(transactions=ledger.since(ask.log, ask.query))


def instrument_candles(ask: Context) -> Answer:
    """GET instruments/{instrument}/candles."""
    return 200, candles.answer(ask.venue.market, ask.instrument, ask.query, ask.venue.clock.now_ns())


def latest_candles(ask: Context) -> Answer:
    """GET candles/latest."""
    return 200, candles.latest(ask.venue.market, ask.query, ask.venue.clock.now_ns())


def order_book(ask: Context) -> Answer:
    """GET instruments/{instrument}/orderBook."""
    return _book(ask, "orderBook")


def position_book(ask: Context) -> Answer:
    """GET instruments/{instrument}/positionBook."""
    return _book(ask, "positionBook")


def _book(ask: Context, kind: str) -> Answer:
    """A snapshot, zipped whether or not the client takes that, with links to those before and after."""
    name, now_ns = ask.instrument, ask.venue.clock.now_ns()
    at_s = books.taken_s(ask.query, now_ns)
    ask.headers |= {"Content-Encoding": "gzip", "Link": books.links(ask.path, at_s, now_ns)}
    return 200, {kind: books.snapshot(ask.venue.market, kind, name, at_s)}


Endpoint = Callable[[Context], Answer]
_ACCOUNT = "/accounts/{account}"
ROUTES: tuple[tuple[str, str, Endpoint], ...] = (
    ("GET", "/accounts", accounts),
    ("GET", _ACCOUNT, account),
    ("GET", f"{_ACCOUNT}/summary", summary),
    ("GET", f"{_ACCOUNT}/instruments", instruments),
    ("PATCH", f"{_ACCOUNT}/configuration", configure),
    ("GET", f"{_ACCOUNT}/changes", changes),
    ("POST", f"{_ACCOUNT}/orders", create_order),
    ("GET", f"{_ACCOUNT}/orders", orders),
    ("GET", f"{_ACCOUNT}/pendingOrders", pending_orders),
    ("GET", f"{_ACCOUNT}/orders/{{order}}", order),
    ("PUT", f"{_ACCOUNT}/orders/{{order}}", replace_order),
    ("PUT", f"{_ACCOUNT}/orders/{{order}}/cancel", cancel_order),
    ("PUT", f"{_ACCOUNT}/orders/{{order}}/clientExtensions", modify_order),
    ("GET", f"{_ACCOUNT}/trades", trades),
    ("GET", f"{_ACCOUNT}/openTrades", open_trades),
    ("GET", f"{_ACCOUNT}/trades/{{trade}}", trade),
    ("PUT", f"{_ACCOUNT}/trades/{{trade}}/close", close_trade),
    ("PUT", f"{_ACCOUNT}/trades/{{trade}}/clientExtensions", modify_trade),
    ("PUT", f"{_ACCOUNT}/trades/{{trade}}/orders", protect_trade),
    ("GET", f"{_ACCOUNT}/positions", positions),
    ("GET", f"{_ACCOUNT}/openPositions", open_positions),
    ("GET", f"{_ACCOUNT}/positions/{{instrument}}", position),
    ("PUT", f"{_ACCOUNT}/positions/{{instrument}}/close", close_position),
    ("GET", f"{_ACCOUNT}/pricing", pricing),
    ("GET", f"{_ACCOUNT}/transactions", transaction_pages),
    ("GET", f"{_ACCOUNT}/transactions/idrange", transaction_range),
    ("GET", f"{_ACCOUNT}/transactions/sinceid", transactions_since),
    ("GET", f"{_ACCOUNT}/transactions/{{transaction}}", transaction),
    ("GET", f"{_ACCOUNT}/instruments/{{instrument}}/candles", instrument_candles),
    ("GET", f"{_ACCOUNT}/candles/latest", latest_candles),
    ("GET", "/instruments/{instrument}/candles", instrument_candles),
    ("GET", "/instruments/{instrument}/orderBook", order_book),
    ("GET", "/instruments/{instrument}/positionBook", position_book),
)


def _position(ask: Context, name: str) -> dict[str, Any]:
    return wire.position(name, ask.book, ask.venue.market.prices)


def subscribed(ask: Context) -> frozenset[str]:
    """The instruments that a price stream asks for.

    Raises:
        AnswerError: none, or one that is not listed.
    """
    return frozenset(ask.names(required=True))
