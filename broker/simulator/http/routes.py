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
def _accounts(call: RequestContext) -> Json:
    return {"accounts": [{"id": name, "tags": []} for name in call.venue.accounts]}


@_route("GET", _ACCOUNT)
def _account(call: RequestContext) -> Json:
    return call.read(account=payloads.account(call.book, call.prices))


@_route("GET", f"{_ACCOUNT}/summary")
def _summary(call: RequestContext) -> Json:
    return call.read(account=payloads.summary(call.book, call.prices))


@_route("GET", f"{_ACCOUNT}/instruments")
def _instruments(call: RequestContext) -> Json:
    return call.read(instruments=[LISTINGS[name].payload() for name in call.names(required=False)])


@_route("PATCH", f"{_ACCOUNT}/configuration")
def _configure(call: RequestContext) -> Json:
    return configuration.configure(call.rules, call.body)


@_route("GET", f"{_ACCOUNT}/changes")
def _changes(call: RequestContext) -> Json:
    return call.read(**transaction_log.changes(call.book, call.query, call.prices))


@_route("POST", f"{_ACCOUNT}/orders", 201)
def _create_order(call: RequestContext) -> Json:
    return trading.place(call.rules, call.body)


@_route("GET", f"{_ACCOUNT}/orders")
def _orders(call: RequestContext) -> Json:
    found = _matching(call, "PENDING", call.book.pending(), call.book.orders.values())
    return call.read(orders=[payloads.order(item) for item in found])


@_route("GET", f"{_ACCOUNT}/pendingOrders")
def _pending_orders(call: RequestContext) -> Json:
    return call.read(orders=[payloads.order(item) for item in call.book.pending()[::-1]])


@_route("GET", f"{_ACCOUNT}/orders/{{order}}")
def _order(call: RequestContext) -> Json:
    specifier = call.parts["order"]
    # By client id the venue finds an order only while it waits.
    found = trading.waiting(call.book, specifier) if specifier.startswith("@") else call.book.orders.get(specifier)
    if found is None or int(found.id) > call.visible:
        raise absent("NO_SUCH_ORDER", "The order ID specified does not exist")
    return call.read(order=payloads.order(found))


@_route("PUT", f"{_ACCOUNT}/orders/{{order}}", 201)
def _replace_order(call: RequestContext) -> Json:
    return trading.replace(call.rules, call.parts["order"], call.body)


@_route("PUT", f"{_ACCOUNT}/orders/{{order}}/cancel")
def _cancel_order(call: RequestContext) -> Json:
    return trading.cancel(call.rules, call.parts["order"])


@_route("PUT", f"{_ACCOUNT}/orders/{{order}}/clientExtensions")
def _modify_order(call: RequestContext) -> Json:
    return trading.modify_order(call.rules, call.parts["order"], call.body)


@_route("GET", f"{_ACCOUNT}/trades")
def _trades(call: RequestContext) -> Json:
    found = _matching(call, "OPEN", call.book.open_trades(), call.book.trades.values())
    return call.read(trades=[payloads.trade(item, call.book, call.prices) for item in found])


@_route("GET", f"{_ACCOUNT}/openTrades")
def _open_trades(call: RequestContext) -> Json:
    return call.read(trades=[payloads.trade(item, call.book, call.prices) for item in call.book.open_trades()[::-1]])


@_route("GET", f"{_ACCOUNT}/trades/{{trade}}")
def _trade(call: RequestContext) -> Json:
    specifier = call.parts["trade"]
    found = trading.open_trade(call.book, specifier) or call.book.trades.get(specifier)
    if found is None:
        raise absent("NO_SUCH_TRADE", "The trade ID specified does not exist")
    return call.read(trade=payloads.trade(found, call.book, call.prices))


@_route("PUT", f"{_ACCOUNT}/trades/{{trade}}/close")
def _close_trade(call: RequestContext) -> Json:
    return trading.close_trade(call.rules, call.parts["trade"], call.body)


@_route("PUT", f"{_ACCOUNT}/trades/{{trade}}/clientExtensions")
def _modify_trade(call: RequestContext) -> Json:
    return trading.modify_trade(call.rules, call.parts["trade"], call.body)


@_route("PUT", f"{_ACCOUNT}/trades/{{trade}}/orders")
def _protect_trade(call: RequestContext) -> Json:
    return trading.protect(call.rules, call.parts["trade"], call.body)


@_route("GET", f"{_ACCOUNT}/positions")
def _positions(call: RequestContext) -> Json:
    return call.read(positions=[payloads.position(name, call.book, call.prices) for name in call.book.traded()])


@_route("GET", f"{_ACCOUNT}/openPositions")
def _open_positions(call: RequestContext) -> Json:
    return call.read(positions=[payloads.position(name, call.book, call.prices) for name in call.book.instruments()])


@_route("GET", f"{_ACCOUNT}/positions/{{instrument}}")
def _position(call: RequestContext) -> Json:
    name = call.instrument
    # Zeros once the instrument was traded, 404 before, as at the venue.
    if name not in call.book.traded():
        raise absent("NO_SUCH_POSITION", "The Position specified does not exist")
    return call.read(position=payloads.position(name, call.book, call.prices))


@_route("PUT", f"{_ACCOUNT}/positions/{{instrument}}/close")
def _close_position(call: RequestContext) -> Json:
    return trading.close_position(call.rules, call.instrument, call.body)


@_route("GET", f"{_ACCOUNT}/pricing")
def _pricing(call: RequestContext) -> Json:
    names = call.names(required=True)
    prices = [payloads.price(call.prices[name], call.prices) for name in names]
    found: Json = {"time": rfc3339(call.now_ns), "prices": prices}
    if call.query.get("includeHomeConversions", "").lower() == "true":
        currencies = sorted({LISTINGS[name].quote_currency for name in names} | {HOME})
        found["homeConversions"] = [payloads.home_conversion(name, call.prices) for name in currencies]
    return found


@_route("GET", f"{_ACCOUNT}/transactions")
def _transaction_pages(call: RequestContext) -> Json:
    return call.read_log(**transaction_log.pages(call.log, call.query, call.path, rfc3339(call.now_ns)))


@_route("GET", f"{_ACCOUNT}/transactions/idrange")
def _transaction_range(call: RequestContext) -> Json:
    return call.read_log(transactions=transaction_log.between(call.log, call.query))


@_route("GET", f"{_ACCOUNT}/transactions/sinceid")
def _transactions_since(call: RequestContext) -> Json:
    return call.read_log(transactions=transaction_log.since(call.log, call.query))


@_route("GET", f"{_ACCOUNT}/transactions/{{transaction}}")
def _transaction(call: RequestContext) -> Json:
    return call.read_log(transaction=transaction_log.one(call.log, call.parts["transaction"]))


@_route("GET", f"{_ACCOUNT}/instruments/{{instrument}}/candles")
@_route("GET", "/instruments/{instrument}/candles")
def _candles(call: RequestContext) -> Json:
    return candles.answer(call.venue.market, call.instrument, call.query, call.now_ns)


@_route("GET", f"{_ACCOUNT}/candles/latest")
def _latest_candles(call: RequestContext) -> Json:
    return candles.latest(call.venue.market, call.query, call.now_ns)


@_route("GET", "/instruments/{instrument}/orderBook")
def _order_book(call: RequestContext) -> Json:
    return _book(call, "orderBook")


@_route("GET", "/instruments/{instrument}/positionBook")
def _position_book(call: RequestContext) -> Json:
    return _book(call, "positionBook")


def _book(call: RequestContext, kind: str) -> Json:
    name, now_ns = call.instrument, call.now_ns
    # Before the headers are set: a refusal is not zipped.
    at_s = books.taken_s(call.query, now_ns)
    # The venue zips books whether or not the client takes that.
    call.headers |= {"Content-Encoding": "gzip", "Link": books.links(call.path, at_s, now_ns)}
    return {kind: books.snapshot(call.venue.market, kind, name, at_s)}


def _matching(call: RequestContext, usual: str, usual_items: Iterable[Item], every: Iterable[Item]) -> list[Item]:
    """Filter orders or trades by the query, the newest first; `usual` is the state that is meant without one."""
    state, wanted, instrument = (
        call.query.get("state", usual),
        call.query.get("ids"),
        call.query.get("instrument"),
    )
    ids = set(wanted.split(",")) if wanted else None
    before = whole(call.query["beforeID"], "beforeID") if "beforeID" in call.query else None
    found = [
        item
        for item in (usual_items if state == usual else every)
        if state in ("ALL", item.state)
        and (ids is None or item.id in ids)
        and instrument in (None, item.instrument)
        and (before is None or int(item.id) < before)
    ]
    return found[::-1][: call.count]
