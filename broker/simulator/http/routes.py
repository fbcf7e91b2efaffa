"""Every endpoint of the simulated v20: each reads its request and returns the body of its answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from broker.simulator.account import configuration, payloads, trading, transaction_log
from broker.simulator.account.account import RestingOrder, SimulatedTrade
from broker.simulator.clock import rfc3339
from broker.simulator.http.handlers import Endpoint, RequestContext
from broker.simulator.market.instruments import LISTINGS
from broker.simulator.market.market import HOME
from broker.simulator.v20 import books, candles
from broker.simulator.v20.answers import absent, whole

Json = dict[str, Any]
Item = TypeVar("Item", RestingOrder, SimulatedTrade)
ROUTES: list[tuple[str, str, Endpoint, int]] = []
"""Method, path, endpoint, and the status of a success; filled by the decorators below."""
_ACCOUNT = "/accounts/{account}"


def _route(method: str, path: str, status: int = 200) -> Callable[[Endpoint], Endpoint]:
    def register(endpoint: Endpoint) -> Endpoint:
        ROUTES.append((method, path, endpoint, status))
        return endpoint

    return register


@_route("GET", "/accounts")
def _accounts(ask: RequestContext) -> Json:
    return {"accounts": [{"id": name, "tags": []} for name in ask.venue.accounts]}


@_route("GET", _ACCOUNT)
def _account(ask: RequestContext) -> Json:
    return ask.read(account=payloads.account(ask.book, ask.prices))


@_route("GET", f"{_ACCOUNT}/summary")
def _summary(ask: RequestContext) -> Json:
    return ask.read(account=payloads.summary(ask.book, ask.prices))


@_route("GET", f"{_ACCOUNT}/instruments")
def _instruments(ask: RequestContext) -> Json:
    return ask.read(instruments=[LISTINGS[name].payload() for name in ask.names(required=False)])


@_route("PATCH", f"{_ACCOUNT}/configuration")
def _configure(ask: RequestContext) -> Json:
    return configuration.configure(ask.rules, ask.body)


@_route("GET", f"{_ACCOUNT}/changes")
def _changes(ask: RequestContext) -> Json:
    return ask.read(**transaction_log.changes(ask.book, ask.query, ask.prices))


@_route("POST", f"{_ACCOUNT}/orders", 201)
def _create_order(ask: RequestContext) -> Json:
    return trading.place(ask.rules, ask.body)


@_route("GET", f"{_ACCOUNT}/orders")
def _orders(ask: RequestContext) -> Json:
    found = _matching(ask, "PENDING", ask.book.pending(), ask.book.orders.values())
    return ask.read(orders=[payloads.order(item) for item in found])


@_route("GET", f"{_ACCOUNT}/pendingOrders")
def _pending_orders(ask: RequestContext) -> Json:
    return ask.read(orders=[payloads.order(item) for item in ask.book.pending()[::-1]])


@_route("GET", f"{_ACCOUNT}/orders/{{order}}")
def _order(ask: RequestContext) -> Json:
    specifier = ask.parts["order"]
    # By client id the venue finds an order only while it waits.
    found = trading.waiting(ask.book, specifier) if specifier.startswith("@") else ask.book.orders.get(specifier)
    if found is None or int(found.id) > ask.visible:
        raise absent("NO_SUCH_ORDER", "The order ID specified does not exist")
    return ask.read(order=payloads.order(found))


@_route("PUT", f"{_ACCOUNT}/orders/{{order}}", 201)
def _replace_order(ask: RequestContext) -> Json:
    return trading.replace(ask.rules, ask.parts["order"], ask.body)


@_route("PUT", f"{_ACCOUNT}/orders/{{order}}/cancel")
def _cancel_order(ask: RequestContext) -> Json:
    return trading.cancel(ask.rules, ask.parts["order"])


@_route("PUT", f"{_ACCOUNT}/orders/{{order}}/clientExtensions")
def _modify_order(ask: RequestContext) -> Json:
    return trading.modify_order(ask.rules, ask.parts["order"], ask.body)


@_route("GET", f"{_ACCOUNT}/trades")
def _trades(ask: RequestContext) -> Json:
    found = _matching(ask, "OPEN", ask.book.open_trades(), ask.book.trades.values())
    return ask.read(trades=[payloads.trade(item, ask.book, ask.prices) for item in found])


@_route("GET", f"{_ACCOUNT}/openTrades")
def _open_trades(ask: RequestContext) -> Json:
    return ask.read(trades=[payloads.trade(item, ask.book, ask.prices) for item in ask.book.open_trades()[::-1]])


@_route("GET", f"{_ACCOUNT}/trades/{{trade}}")
def _trade(ask: RequestContext) -> Json:
    specifier = ask.parts["trade"]
    found = trading.open_trade(ask.book, specifier) or ask.book.trades.get(specifier)
    if found is None:
        raise absent("NO_SUCH_TRADE", "The trade ID specified does not exist")
    return ask.read(trade=payloads.trade(found, ask.book, ask.prices))


@_route("PUT", f"{_ACCOUNT}/trades/{{trade}}/close")
def _close_trade(ask: RequestContext) -> Json:
    return trading.close_trade(ask.rules, ask.parts["trade"], ask.body)


@_route("PUT", f"{_ACCOUNT}/trades/{{trade}}/clientExtensions")
def _modify_trade(ask: RequestContext) -> Json:
    return trading.modify_trade(ask.rules, ask.parts["trade"], ask.body)


@_route("PUT", f"{_ACCOUNT}/trades/{{trade}}/orders")
def _protect_trade(ask: RequestContext) -> Json:
    return trading.protect(ask.rules, ask.parts["trade"], ask.body)


@_route("GET", f"{_ACCOUNT}/positions")
def _positions(ask: RequestContext) -> Json:
    return ask.read(positions=[payloads.position(name, ask.book, ask.prices) for name in ask.book.traded()])


@_route("GET", f"{_ACCOUNT}/openPositions")
def _open_positions(ask: RequestContext) -> Json:
    return ask.read(positions=[payloads.position(name, ask.book, ask.prices) for name in ask.book.instruments()])


@_route("GET", f"{_ACCOUNT}/positions/{{instrument}}")
def _position(ask: RequestContext) -> Json:
    name = ask.instrument
    # Zeros once the instrument was traded, 404 before, as at the venue.
    if name not in ask.book.traded():
        raise absent("NO_SUCH_POSITION", "The Position specified does not exist")
    return ask.read(position=payloads.position(name, ask.book, ask.prices))


@_route("PUT", f"{_ACCOUNT}/positions/{{instrument}}/close")
def _close_position(ask: RequestContext) -> Json:
    return trading.close_position(ask.rules, ask.instrument, ask.body)


@_route("GET", f"{_ACCOUNT}/pricing")
def _pricing(ask: RequestContext) -> Json:
    names = ask.names(required=True)
    prices = [payloads.price(ask.prices[name], ask.prices) for name in names]
    found: Json = {"time": rfc3339(ask.now_ns), "prices": prices}
    if ask.query.get("includeHomeConversions", "").lower() == "true":
        currencies = sorted({LISTINGS[name].quote_currency for name in names} | {HOME})
        found["homeConversions"] = [payloads.home_conversion(name, ask.prices) for name in currencies]
    return found


@_route("GET", f"{_ACCOUNT}/transactions")
def _transaction_pages(ask: RequestContext) -> Json:
    return ask.read_log(**transaction_log.pages(ask.log, ask.query, ask.path, rfc3339(ask.now_ns)))


@_route("GET", f"{_ACCOUNT}/transactions/idrange")
def _transaction_range(ask: RequestContext) -> Json:
    return ask.read_log(transactions=transaction_log.between(ask.log, ask.query))


@_route("GET", f"{_ACCOUNT}/transactions/sinceid")
def _transactions_since(ask: RequestContext) -> Json:
    return ask.read_log(transactions=transaction_log.since(ask.log, ask.query))


@_route("GET", f"{_ACCOUNT}/transactions/{{transaction}}")
def _transaction(ask: RequestContext) -> Json:
    return ask.read_log(transaction=transaction_log.one(ask.log, ask.parts["transaction"]))


@_route("GET", f"{_ACCOUNT}/instruments/{{instrument}}/candles")
@_route("GET", "/instruments/{instrument}/candles")
def _candles(ask: RequestContext) -> Json:
    return candles.answer(ask.venue.market, ask.instrument, ask.query, ask.now_ns)


@_route("GET", f"{_ACCOUNT}/candles/latest")
def _latest_candles(ask: RequestContext) -> Json:
    return candles.latest(ask.venue.market, ask.query, ask.now_ns)


@_route("GET", "/instruments/{instrument}/orderBook")
def _order_book(ask: RequestContext) -> Json:
    return _book(ask, "orderBook")


@_route("GET", "/instruments/{instrument}/positionBook")
def _position_book(ask: RequestContext) -> Json:
    return _book(ask, "positionBook")


def _book(ask: RequestContext, kind: str) -> Json:
    name, now_ns = ask.instrument, ask.now_ns
    at_s = books.taken_s(ask.query, now_ns)
    # The venue zips books whether or not the client takes that.
    ask.headers |= {"Content-Encoding": "gzip", "Link": books.links(ask.path, at_s, now_ns)}
    return {kind: books.snapshot(ask.venue.market, kind, name, at_s)}


def _matching(ask: RequestContext, usual: str, usual_items: Iterable[Item], every: Iterable[Item]) -> list[Item]:
    """Filter orders or trades by the query, the newest first; `usual` is the state that is meant without one."""
    state, wanted, instrument = ask.query.get("state", usual), ask.query.get("ids"), ask.query.get("instrument")
    ids = set(wanted.split(",")) if wanted else None
    before = whole(ask.query["beforeID"], "beforeID") if "beforeID" in ask.query else None
    found = [
        item
        for item in (usual_items if state == usual else every)
        if state in ("ALL", item.state)
        and (ids is None or item.id in ids)
        and instrument in (None, item.instrument)
        and (before is None or int(item.id) < before)
    ]
    return found[::-1][: ask.count]
