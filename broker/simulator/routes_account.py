"""Accounts, instruments, prices, candles and the log: what clients of v20 read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aiohttp import web

from broker.simulator import wire
from broker.simulator.account import AccountBook, Transaction
from broker.simulator.clock import NANOS, parse_ns, rfc3339
from broker.simulator.instruments import LISTINGS
from broker.simulator.middleware import VENUE, answer
from broker.simulator.requests import InvalidRequestError
from broker.simulator.streams import serve
from broker.simulator.venue import Subscription, Venue

PAGE = 100
MAX_SINCE = 1000
_GRANULARITY_S = {"S5": 5, "S10": 10, "M1": 60, "M5": 300, "M15": 900, "H1": 3600, "H4": 14400, "D": 86400}

routes = web.RouteTableDef()


def book_of(request: web.Request) -> AccountBook:
    """The account of a request's path.

    Raises:
        HTTPForbidden: it is not one of the token's.
    """
    found = request.app[VENUE].accounts.get(request.match_info["account"])
    if found is None:
        raise web.HTTPForbidden(
            text='{"errorMessage": "Insufficient authorization to perform request."}', content_type="application/json"
        )
    return found


def names(request: web.Request) -> list[str]:
    """The `instruments` of a query: every one must be listed."""
    chosen = [name for name in request.query.get("instruments", "").split(",") if name]
    if not chosen or any(name not in LISTINGS for name in chosen):
        raise InvalidRequestError("Invalid value specified for 'instruments'")
    return chosen


@routes.get("/v3/accounts")
async def accounts(request: web.Request) -> web.Response:
    """The accounts of the token."""
    return answer({"accounts": [{"id": name, "tags": []} for name in request.app[VENUE].accounts]})


@routes.get("/v3/accounts/{account}/summary")
async def account_summary(request: web.Request) -> web.Response:
    """The summary."""
    book = book_of(request)
    prices = request.app[VENUE].market.prices
    return answer({"account": wire.summary(book, prices), "lastTransactionID": book.last_id})


@routes.get("/v3/accounts/{account}")
async def account_details(request: web.Request) -> web.Response:
    """The summary with everything that is open."""
    book, prices = book_of(request), request.app[VENUE].market.prices
    details = wire.summary(book, prices) | {
        "trades": [wire.trade(item, book, prices) for item in book.open_trades()],
        "positions": [wire.position(name, book, prices) for name in book.realized],
        "orders": [wire.order(item) for item in book.pending()],
    }
    return answer({"account": details, "lastTransactionID": book.last_id})


@routes.get("/v3/accounts/{account}/instruments")
async def instruments(request: web.Request) -> web.Response:
    """What may be traded."""
    chosen = names(request) if "instruments" in request.query else list(LISTINGS)
    listed = [LISTINGS[name].wire() for name in chosen]
    return answer({"instruments": listed, "lastTransactionID": book_of(request).last_id})


@routes.get("/v3/accounts/{account}/changes")
async def changes(request: web.Request) -> web.Response:
    """What changed since a transaction, and the state that follows the prices."""
    book, venue = book_of(request), request.app[VENUE]
    since = whole(request, "sinceTransactionID")
    new = book.log[since:]
    prices = venue.market.prices
    filled = [item["orderID"] for item in new if item["type"] == "ORDER_FILL"]
    ended = [item["orderID"] for item in new if item["type"] == "ORDER_CANCEL"]
    created = [item["id"] for item in new if item["id"] in book.orders]
    opened = [item["id"] for item in new if item["id"] in book.trades]
    summary = wire.summary(book, prices)
    return answer(
        {
            "changes": {
                "ordersCreated": [wire.order(book.orders[name]) for name in created],
                "ordersCancelled": [wire.order(book.orders[name]) for name in ended],
                "ordersFilled": [wire.order(book.orders[name]) for name in filled],
                "ordersTriggered": [],
                "tradesOpened": [wire.trade(book.trades[name], book, prices) for name in opened],
                "tradesReduced": [],
                "tradesClosed": [],
                "positions": [wire.position(name, book, prices) for name in book.realized],
                "transactions": new,
            },
            "state": {
                **{key: summary[key] for key in ("unrealizedPL", "NAV", "marginUsed", "marginAvailable")},
                "orders": [],
                "trades": [{"id": item.id, "unrealizedPL": "0.0000"} for item in book.open_trades()],
                "positions": [],
            },
            "lastTransactionID": book.last_id,
        }
    )


def whole(request: web.Request, name: str) -> int:
    """A whole number of the query.

    Raises:
        InvalidRequestError: it is none.
    """
    text = request.query.get(name, "")
    if not text.isdecimal():
        raise InvalidRequestError(f"Invalid value specified for '{name}'")
    return int(text)


@routes.get("/v3/accounts/{account}/pricing")
async def pricing(request: web.Request) -> web.Response:
    """The latest prices."""
    venue = request.app[VENUE]
    book_of(request)
    prices = [wire.price(venue.market.prices[name], venue.market.prices) for name in names(request)]
    return answer({"prices": prices, "time": rfc3339(venue.clock.now_ns())})


@routes.get("/v3/accounts/{account}/pricing/stream")
async def pricing_stream(request: web.Request) -> web.StreamResponse:
    """Prices as they move; a snapshot first."""
    book = book_of(request)
    subscription = Subscription(book.id, "pricing", frozenset(names(request)))
    return await serve(request, request.app[VENUE], subscription)


@routes.get("/v3/accounts/{account}/transactions/stream")
async def transaction_stream(request: web.Request) -> web.StreamResponse:
    """Transactions as they happen, from now on: no replay."""
    return await serve(request, request.app[VENUE], Subscription(book_of(request).id, "transactions"))


@routes.get("/v3/accounts/{account}/transactions")
async def transaction_pages(request: web.Request) -> web.Response:
    """Addresses of pages, not transactions."""
    book, venue = book_of(request), request.app[VENUE]
    size = whole(request, "pageSize") if "pageSize" in request.query else PAGE
    base = f"{request.scheme}://{request.host}/v3/accounts/{book.id}/transactions/idrange"
    starts = range(1, len(book.log) + 1, max(1, min(size, MAX_SINCE)))
    pages = [f"{base}?from={start}&to={min(start + size - 1, len(book.log))}" for start in starts]
    return answer(
        {
            "from": rfc3339(0),
            "to": rfc3339(venue.clock.now_ns()),
            "pageSize": size,
            "type": [],
            "count": len(book.log),
            "pages": pages,
            "lastTransactionID": book.last_id,
        }
    )


@routes.get("/v3/accounts/{account}/transactions/sinceid")
async def transactions_since(request: web.Request) -> web.Response:
    """The log behind a transaction, at most a thousand at a time."""
    book = book_of(request)
    since = whole(request, "id")
    found = shown(request, book)[since : since + MAX_SINCE]
    return answer({"transactions": found, "lastTransactionID": found[-1]["id"] if found else str(since)})


@routes.get("/v3/accounts/{account}/transactions/idrange")
async def transactions_range(request: web.Request) -> web.Response:
    """A stretch of the log, both ends included."""
    book = book_of(request)
    first, last = whole(request, "from"), whole(request, "to")
    if not 0 < first <= last or last - first >= MAX_SINCE:
        raise InvalidRequestError("Invalid value specified for 'from' or 'to'")
    return answer({"transactions": shown(request, book)[first - 1 : last], "lastTransactionID": book.last_id})


def shown(request: web.Request, book: AccountBook) -> list[Transaction]:
    """The log as the request may see it: a lagging venue hides what is young."""
    fault = request.get("fault")
    if fault is None or fault.kind != "lag":
        return book.log
    horizon = rfc3339(request.app[VENUE].clock.now_ns() - int(fault.seconds * NANOS))
    return [entry for entry in book.log if entry["time"] <= horizon]


@routes.get("/v3/accounts/{account}/transactions/{transaction}")
async def transaction(request: web.Request) -> web.Response:
    """One transaction."""
    book = book_of(request)
    number = request.match_info["transaction"]
    if not number.isdecimal() or not 0 < int(number) <= len(book.log):
        return answer({"errorMessage": "The transaction ID specified does not exist"}, 404)
    return answer({"transaction": book.log[int(number) - 1], "lastTransactionID": book.last_id})


@routes.get("/v3/instruments/{instrument}/candles")
async def candles(request: web.Request) -> web.Response:
    """Candles of a price that stood still: shapes for clients that want them, no history."""
    name = request.match_info["instrument"]
    step_s = _GRANULARITY_S.get(request.query.get("granularity", "S5"))
    if name not in LISTINGS or step_s is None:
        raise InvalidRequestError("Invalid value specified for 'instrument' or 'granularity'")
    count = whole(request, "count") if "count" in request.query else 500
    venue = request.app[VENUE]
    moments = _moments(venue, request.query.get("from"), count, step_s)
    value = str(LISTINGS[name].round(venue.market.prices[name].mid))
    shape = {"o": value, "h": value, "l": value, "c": value}
    found: list[dict[str, Any]] = [
        {"time": rfc3339(moment), "mid": shape, "volume": 1, "complete": True} for moment in moments
    ]
    return answer({"instrument": name, "granularity": request.query.get("granularity", "S5"), "candles": found})


def _moments(venue: Venue, start: str | None, count: int, step_s: int) -> Iterable[int]:
    now_ns = venue.clock.now_ns()
    step_ns = step_s * NANOS
    try:
        first = parse_ns(start) if start else now_ns - count * step_ns
    except ValueError as error:
        raise InvalidRequestError("Invalid value specified for 'from'") from error
    first -= first % step_ns
    return [first + step_ns * index for index in range(min(count, 5000)) if first + step_ns * index < now_ns]
