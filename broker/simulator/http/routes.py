"""Every endpoint of the simulated v20, as a table: each reads its request and returns the body of its answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from broker.simulator.account import payloads, trading, transaction_log
from broker.simulator.account.book import RestingOrder, SimulatedTrade, TransactionPayload
from broker.simulator.account.matching import Matching
from broker.simulator.clock import parse_ns, rfc3339
from broker.simulator.http.handlers import Endpoint, RequestContext
from broker.simulator.market.instruments import LISTINGS
from broker.simulator.market.market import HOME
from broker.simulator.v20 import books, candles
from broker.simulator.v20.answers import absent, invalid, whole

Json = dict[str, Any]
Item = TypeVar("Item", RestingOrder, SimulatedTrade)


def _instruments(call: RequestContext) -> Json:
    return call.read(instruments=[LISTINGS[name].payload() for name in call.names(required=False)])


def _orders(call: RequestContext, found: Iterable[RestingOrder]) -> Json:
    return call.read(orders=[payloads.order(item) for item in found])


def _order(call: RequestContext) -> Json:
    specifier = call.parts["order"]
    # By client id the venue finds an order only while it waits.
    found = trading.waiting(call.book, specifier) if specifier.startswith("@") else call.book.orders.get(specifier)
    if found is None or int(found.id) > call.visible:
        raise absent("NO_SUCH_ORDER", "The order ID specified does not exist")
    return call.read(order=payloads.order(found))


def _trades(call: RequestContext, found: Iterable[SimulatedTrade]) -> Json:
    return call.read(trades=[payloads.trade(item, call.book) for item in found])


def _trade(call: RequestContext) -> Json:
    specifier = call.parts["trade"]
    found = trading.open_trade(call.book, specifier) or call.book.trades.get(specifier)
    if found is None:
        raise absent("NO_SUCH_TRADE", "The trade ID specified does not exist")
    return call.read(trade=payloads.trade(found, call.book))


def _positions(call: RequestContext, names: Iterable[str]) -> Json:
    return call.read(positions=[payloads.position(name, call.book) for name in names])


def _position(call: RequestContext) -> Json:
    name = call.instrument
    # Zeros once the instrument was traded, 404 before, as at the venue.
    if name not in call.book.traded():
        raise absent("NO_SUCH_POSITION", "The Position specified does not exist")
    return call.read(position=payloads.position(name, call.book))


def _pricing(call: RequestContext) -> Json:
    names, prices = call.names(required=True), call.book.prices
    wants_home = call.query.get("includeHomeConversions", "").lower() == "true"
    try:
        since_ns = parse_ns(call.query["since"]) if "since" in call.query else -1
    except ValueError:
        raise invalid("since") from None
    newer = (prices[name] for name in names if prices[name].time_ns > since_ns)
    shown = [payloads.price(item, prices, factors=not wants_home) for item in newer]
    found: Json = {"time": rfc3339(call.now_ns), "prices": shown}
    if wants_home:
        # Of base and quote currencies, the account's own among them (v20, `homeConversions`).
        sides = (LISTINGS[name] for name in names)
        currencies = {HOME} | {item for side in sides for item in (side.base_currency, side.quote_currency) if item}
        found["homeConversions"] = [payloads.home_conversion(name, prices) for name in sorted(currencies)]
    return found


def _transaction_pages(call: RequestContext) -> Json:
    return call.read_log(**transaction_log.pages(call.log, call.query, call.path, rfc3339(call.now_ns)))


def _transaction(call: RequestContext) -> Json:
    return call.read_log(transaction=transaction_log.one(call.log, call.parts["transaction"]))


def _candles(call: RequestContext) -> Json:
    return candles.answer(call.venue.market, call.instrument, call.query, call.now_ns)


def _book(call: RequestContext, kind: str) -> Json:
    name, now_ns = call.instrument, call.now_ns
    # Before the headers are set: a refusal is not zipped.
    at_s = books.taken_s(call.query, now_ns)
    # The venue zips books whether or not the client takes that.
    call.headers |= {"Content-Encoding": "gzip", "Link": books.links(call.path, at_s, now_ns)}
    return {kind: books.snapshot(call.venue.market, kind, name, at_s)}


def _matching(call: RequestContext, usual: str, usual_items: list[Item], every: Mapping[str, Item]) -> list[Item]:
    """Filter orders or trades by the query, the newest first; `usual` is the state that is meant without one."""
    state, wanted, name = call.query.get("state", usual), call.query.get("ids"), call.query.get("instrument")
    before = whole(call.query["beforeID"], "beforeID") if "beforeID" in call.query else math.inf
    found = usual_items if state == usual else [item for item in every.values() if state in ("ALL", item.state)]
    if wanted:
        found = [item for item in found if item.id in wanted.split(",")]
    found = [item for item in found if name in (None, item.instrument) and int(item.id) < before]
    return found[::-1][: call.count]


def _act(action: Callable[[Matching, str, Any], Json], part: str) -> Endpoint:
    """Make an endpoint that acts on the order or trade that the path names."""
    return lambda call: action(call.rules, call.parts[part], call.body)


def _log(select: Callable[[list[TransactionPayload], Mapping[str, str]], list[TransactionPayload]]) -> Endpoint:
    """Make an endpoint that shows a part of the log, as far as its reader sees it."""
    return lambda call: call.read_log(transactions=select(call.log, call.query))


# `~` stands for the path of the account that a request names.
ROUTES: dict[str, Endpoint] = {
    "GET ~": lambda call: call.read(account=payloads.account(call.book)),
    "GET ~/summary": lambda call: call.read(account=payloads.summary(call.book)),
    "GET ~/instruments": _instruments,
    "PATCH ~/configuration": lambda call: trading.configure(call.rules, call.body),
    "GET ~/changes": lambda call: call.read(**transaction_log.changes(call.book, call.query)),
    "POST ~/orders": lambda call: trading.place(call.rules, call.body),
    "GET ~/orders": lambda call: _orders(call, _matching(call, "PENDING", call.book.pending(), call.book.orders)),
    "GET ~/pendingOrders": lambda call: _orders(call, call.book.pending()[::-1]),
    "GET ~/orders/{order}": _order,
    "PUT ~/orders/{order}": _act(trading.replace, "order"),
    "PUT ~/orders/{order}/cancel": _act(trading.cancel, "order"),
    "PUT ~/orders/{order}/clientExtensions": _act(trading.modify_order, "order"),
    "GET ~/trades": lambda call: _trades(call, _matching(call, "OPEN", call.book.open_trades(), call.book.trades)),
    "GET ~/openTrades": lambda call: _trades(call, call.book.open_trades()[::-1]),
    "GET ~/trades/{trade}": _trade,
    "PUT ~/trades/{trade}/close": _act(trading.close_trade, "trade"),
    "PUT ~/trades/{trade}/clientExtensions": _act(trading.modify_trade, "trade"),
    "PUT ~/trades/{trade}/orders": _act(trading.protect, "trade"),
    "GET ~/positions": lambda call: _positions(call, call.book.traded()),
    "GET ~/openPositions": lambda call: _positions(call, call.book.instruments()),
    "GET ~/positions/{instrument}": _position,
    "PUT ~/positions/{instrument}/close": lambda call: trading.close_position(call.rules, call.instrument, call.body),
    "GET ~/pricing": _pricing,
    "GET ~/transactions": _transaction_pages,
    "GET ~/transactions/idrange": _log(transaction_log.between),
    "GET ~/transactions/sinceid": _log(transaction_log.since),
    "GET ~/transactions/{transaction}": _transaction,
    "GET ~/instruments/{instrument}/candles": _candles,
    "GET ~/candles/latest": lambda call: candles.latest(call.venue.market, call.query, call.now_ns),
    "GET /accounts": lambda call: {"accounts": [{"id": name, "tags": []} for name in call.venue.accounts]},
    "GET /instruments/{instrument}/candles": _candles,
    "GET /instruments/{instrument}/orderBook": lambda call: _book(call, "orderBook"),
    "GET /instruments/{instrument}/positionBook": lambda call: _book(call, "positionBook"),
}
CREATING = frozenset({"POST ~/orders", "PUT ~/orders/{order}"})
"""Routes that answer a success with 201."""
