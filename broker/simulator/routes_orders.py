"""Orders, trades and positions: what clients of v20 change."""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Any

from aiohttp import web

from broker.simulator import wire
from broker.simulator.account import AccountBook, RestingOrder, Trade, Transaction
from broker.simulator.instruments import LISTINGS
from broker.simulator.matching import Matching
from broker.simulator.middleware import VENUE, answer
from broker.simulator.requests import DEPENDENT_TYPES, ENTRY_TYPES, InvalidRequestError, RejectError, parse
from broker.simulator.routes_account import book_of

routes = web.RouteTableDef()


async def body_of(request: web.Request) -> Any:
    """The JSON of a request.

    Raises:
        InvalidRequestError: it is none.
    """
    try:
        return json.loads(await request.read() or b"{}")
    except ValueError as error:
        raise InvalidRequestError("Invalid JSON, ParseErrorCode: 3") from error


def rules(request: web.Request, book: AccountBook) -> Matching:
    """The rules at this moment, for this request."""
    return request.app[VENUE].matching(book, request["id"])


def settled(book: AccountBook, transactions: dict[str, Transaction], status: int) -> web.Response:
    """An answer of transactions, with the ids that belong to it."""
    batch = {item["batchID"] for item in transactions.values()}
    related = [item["id"] for item in book.log if item["batchID"] in batch]
    return answer({**transactions, "relatedTransactionIDs": related, "lastTransactionID": book.last_id}, status)


def refused(book: AccountBook, name: str, rejected: Transaction, status: int = 400) -> web.Response:
    """An answer that refuses with a reject transaction."""
    return answer(
        {
            name: rejected,
            "relatedTransactionIDs": [rejected["id"]],
            "lastTransactionID": book.last_id,
            "errorCode": rejected["rejectReason"],
            "errorMessage": rejected["rejectReason"].replace("_", " ").capitalize(),
        },
        status,
    )


@routes.post("/v3/accounts/{account}/orders")
async def create_order(request: web.Request) -> web.Response:
    """Takes an order: 201 also where it is cancelled at once; 400 or 404 where it is rejected."""
    book = book_of(request)
    body = await body_of(request)
    matching = rules(request, book)
    try:
        return settled(book, matching.create(parse(body, open_instruments(book))), 201)
    except RejectError as error:
        return _rejected(request, book, body, error)


def _rejected(request: web.Request, book: AccountBook, body: Any, error: RejectError, **more: Any) -> web.Response:
    raw = body["order"]
    kind = str(raw.get("type", "MARKET"))
    kept = {
        key: raw[key]
        for key in ("instrument", "tradeID", "price", "priceBound", "distance", "clientExtensions", "gtdTime")
        if key in raw
    }
    fields = {"timeInForce": "GTC", "positionFill": "DEFAULT", "units": str(raw.get("units", "0")), **kept, **more}
    if kind in DEPENDENT_TYPES:
        fields = {key: value for key, value in fields.items() if key not in ("positionFill", "units")}
    if kind in ENTRY_TYPES or kind in DEPENDENT_TYPES:
        now_ns = request.app[VENUE].clock.now_ns()
        rejected = book.append(
            f"{kind}_ORDER_REJECT", now_ns, request["id"], reason="CLIENT_ORDER", rejectReason=error.reason, **fields
        )
        return refused(
            book, "orderRejectTransaction", rejected, 404 if error.reason.endswith("DOESNT_EXIST") else 400
        )
    raise InvalidRequestError("Invalid value specified for 'order.type'")


def open_instruments(book: AccountBook) -> dict[str, str]:
    """Open trades' ids to their instruments."""
    return {trade.id: trade.instrument for trade in book.open_trades()}


@routes.get("/v3/accounts/{account}/orders")
async def list_orders(request: web.Request) -> web.Response:
    """Orders by state; PENDING unless told otherwise."""
    book = book_of(request)
    state = request.query.get("state", "PENDING")
    instrument = request.query.get("instrument")
    found = [
        item
        for item in book.orders.values()
        if state in ("ALL", item.state) and instrument in (None, item.spec.instrument)
    ]
    count = min(int(request.query.get("count", "50")), 500)
    chosen = [wire.order(item) for item in reversed(found)][:count]
    return answer({"orders": chosen, "lastTransactionID": book.last_id})


@routes.get("/v3/accounts/{account}/pendingOrders")
async def pending_orders(request: web.Request) -> web.Response:
    """Every order that waits."""
    book = book_of(request)
    return answer({"orders": [wire.order(item) for item in book.pending()], "lastTransactionID": book.last_id})


def order_of(request: web.Request, book: AccountBook) -> RestingOrder | None:
    """The order of a specifier; by `@client id` only those that wait are found, as at the venue."""
    specifier = request.match_info["order"]
    if specifier.startswith("@"):
        return next((item for item in book.pending() if item.spec.client.get("id") == specifier[1:]), None)
    return book.orders.get(specifier)


@routes.get("/v3/accounts/{account}/orders/{order}")
async def get_order(request: web.Request) -> web.Response:
    """One order."""
    book = book_of(request)
    if (found := order_of(request, book)) is None:
        return answer({"errorCode": "NO_SUCH_ORDER", "errorMessage": "The order ID specified does not exist"}, 404)
    return answer({"order": wire.order(found), "lastTransactionID": book.last_id})


@routes.put("/v3/accounts/{account}/orders/{order}/cancel")
async def cancel_order(request: web.Request) -> web.Response:
    """Cancels an order that waits; 404 with a reject transaction otherwise."""
    book = book_of(request)
    found = order_of(request, book)
    if found is None or found.state != "PENDING":
        return _cancel_refused(request, book)
    ended = rules(request, book).cancel(found, "CLIENT_REQUEST")
    return settled(book, {"orderCancelTransaction": ended}, 200)


def _cancel_refused(request: web.Request, book: AccountBook) -> web.Response:
    specifier = request.match_info["order"]
    which = {"clientOrderID": specifier[1:]} if specifier.startswith("@") else {"orderID": specifier}
    now_ns = request.app[VENUE].clock.now_ns()
    rejected = book.append("ORDER_CANCEL_REJECT", now_ns, request["id"], rejectReason="ORDER_DOESNT_EXIST", **which)
    return refused(book, "orderCancelRejectTransaction", rejected, 404)


@routes.put("/v3/accounts/{account}/orders/{order}/clientExtensions")
async def set_client_extensions(request: web.Request) -> web.Response:
    """Changes an order's client extensions."""
    book = book_of(request)
    found = order_of(request, book)
    if found is None or found.state != "PENDING":
        return answer({"errorCode": "NO_SUCH_ORDER", "errorMessage": "The order ID specified does not exist"}, 404)
    extensions = (await body_of(request)).get("clientExtensions") or {}
    found.spec.client = {key: str(value) for key, value in extensions.items() if key in ("id", "tag", "comment")}
    modified = book.append(
        "ORDER_CLIENT_EXTENSIONS_MODIFY",
        request.app[VENUE].clock.now_ns(),
        request["id"],
        orderID=found.id,
        clientExtensionsModify=dict(found.spec.client),
    )
    return settled(book, {"orderClientExtensionsModifyTransaction": modified}, 200)


@routes.put("/v3/accounts/{account}/orders/{order}")
async def replace_order(request: web.Request) -> web.Response:
    """Cancels an order and makes another in its place, in one batch."""
    book = book_of(request)
    found = order_of(request, book)
    if found is None or found.state != "PENDING":
        return _cancel_refused(request, book)
    body = await body_of(request)
    matching = rules(request, book)
    try:
        spec = parse(body, open_instruments(book))
    except RejectError as error:
        return _rejected(request, book, body, error, intendedReplacesOrderID=found.id)
    spec.client = spec.client or dict(found.spec.client)
    cancelled = matching.cancel(found, "CLIENT_REQUEST_REPLACED", replacedByOrderID=str(len(book.log) + 2))
    created = matching.create(spec, reason="REPLACEMENT", replacesOrderID=found.id)
    cancelled["batchID"] = created["orderCreateTransaction"]["batchID"]
    return settled(book, {"orderCancelTransaction": cancelled, **created}, 201)


@routes.get("/v3/accounts/{account}/trades")
@routes.get("/v3/accounts/{account}/openTrades")
async def list_trades(request: web.Request) -> web.Response:
    """Open trades, newest first."""
    book, prices = book_of(request), request.app[VENUE].market.prices
    found = [wire.trade(item, book, prices) for item in reversed(book.open_trades(request.query.get("instrument")))]
    return answer({"trades": found, "lastTransactionID": book.last_id})


def trade_of(request: web.Request, book: AccountBook) -> Trade | None:
    """The trade of a specifier."""
    return book.trades.get(request.match_info["trade"])


NO_TRADE = {"errorCode": "NO_SUCH_TRADE", "errorMessage": "The trade ID specified does not exist"}


@routes.get("/v3/accounts/{account}/trades/{trade}")
async def get_trade(request: web.Request) -> web.Response:
    """One trade, open or closed."""
    book = book_of(request)
    if (found := trade_of(request, book)) is None:
        return answer(NO_TRADE, 404)
    prices = request.app[VENUE].market.prices
    return answer({"trade": wire.trade(found, book, prices), "lastTransactionID": book.last_id})


@routes.put("/v3/accounts/{account}/trades/{trade}/close")
async def close_trade(request: web.Request) -> web.Response:
    """Closes a trade, whole or in part."""
    book = book_of(request)
    found = trade_of(request, book)
    wanted = str((await body_of(request)).get("units", "ALL"))
    if found is None or found.state != "OPEN":
        return _close_refused(request, book, "TRADE_DOESNT_EXIST", 404)
    units = abs(found.units) if wanted == "ALL" else decimal(wanted)
    if units <= 0 or units > abs(found.units):
        return _close_refused(request, book, "CLOSE_TRADE_UNITS_EXCEED_TRADE_SIZE", 400)
    reason = {"tradeClose": {"tradeID": found.id, "units": wanted}}
    return settled(book, rules(request, book).close_trade(found, units, reason="TRADE_CLOSE", **reason), 200)


def decimal(text: str) -> Decimal:
    """A number of a request.

    Raises:
        InvalidRequestError: it is none.
    """
    try:
        return Decimal(text)
    except InvalidOperation:
        raise InvalidRequestError("Invalid value specified for 'units'") from None


def _close_refused(request: web.Request, book: AccountBook, reason: str, status: int) -> web.Response:
    rejected = book.append(
        "MARKET_ORDER_REJECT",
        request.app[VENUE].clock.now_ns(),
        request["id"],
        reason="TRADE_CLOSE",
        rejectReason=reason,
        units="0",
        timeInForce="FOK",
        positionFill="REDUCE_ONLY",
    )
    return refused(book, "orderRejectTransaction", rejected, status)


@routes.put("/v3/accounts/{account}/trades/{trade}/orders")
async def set_trade_orders(request: web.Request) -> web.Response:
    """Makes, replaces or cancels the orders that depend on a trade."""
    book = book_of(request)
    found = trade_of(request, book)
    if found is None or found.state != "OPEN":
        return answer(NO_TRADE, 404)
    body = await body_of(request)
    matching = rules(request, book)
    transactions: dict[str, Transaction] = {}
    for key, kind in (
        ("takeProfit", "TAKE_PROFIT"),
        ("stopLoss", "STOP_LOSS"),
        ("guaranteedStopLoss", "GUARANTEED_STOP_LOSS"),
        ("trailingStopLoss", "TRAILING_STOP_LOSS"),
    ):
        if key not in body:
            continue
        for order in book.pending():
            if order.spec.trade_id == found.id and order.spec.type == kind:
                transactions[f"{key}OrderCancelTransaction"] = matching.cancel(order, "CLIENT_REQUEST_REPLACED")
        if body[key] is not None:
            raw = {"order": {**body[key], "type": kind, "tradeID": found.id}}
            created = matching.create(parse(raw, open_instruments(book)))
            transactions[f"{key}OrderTransaction"] = created["orderCreateTransaction"]
    return settled(book, transactions, 200)


@routes.get("/v3/accounts/{account}/positions")
async def list_positions(request: web.Request) -> web.Response:
    """Every instrument that ever traded."""
    book, prices = book_of(request), request.app[VENUE].market.prices
    found = [wire.position(name, book, prices) for name in book.realized]
    return answer({"positions": found, "lastTransactionID": book.last_id})


@routes.get("/v3/accounts/{account}/openPositions")
async def open_positions(request: web.Request) -> web.Response:
    """Instruments that are held."""
    book, prices = book_of(request), request.app[VENUE].market.prices
    held = sorted({item.instrument for item in book.open_trades()})
    return answer(
        {"positions": [wire.position(name, book, prices) for name in held], "lastTransactionID": book.last_id}
    )


@routes.get("/v3/accounts/{account}/positions/{instrument}")
async def get_position(request: web.Request) -> web.Response:
    """One position: zeros where it is flat, 404 where it never was."""
    book = book_of(request)
    name = request.match_info["instrument"]
    if name not in LISTINGS:
        raise InvalidRequestError("Invalid value specified for 'instrument'")
    if name not in book.realized:
        return answer({"errorCode": "NO_SUCH_POSITION", "errorMessage": "The Position requested does not exist"}, 404)
    position = wire.position(name, book, request.app[VENUE].market.prices)
    return answer({"position": position, "lastTransactionID": book.last_id})


@routes.put("/v3/accounts/{account}/positions/{instrument}/close")
async def close_position(request: web.Request) -> web.Response:
    """Closes one side of a position; the side that is not held is refused."""
    book = book_of(request)
    name = request.match_info["instrument"]
    body = await body_of(request)
    held = book.position(name) if name in LISTINGS else Decimal(0)
    side = "long" if held > 0 else "short"
    asked = {
        key: str(body[f"{key}Units"]) for key in ("long", "short") if str(body.get(f"{key}Units", "NONE")) != "NONE"
    }
    wrong = held == 0 or set(asked) != {side}
    amount = abs(held) if wrong or asked[side] == "ALL" else decimal(asked[side])
    if wrong or not 0 < amount <= abs(held):
        return _closeout_refused(request, book, name, 404 if held == 0 else 400)
    spec = {f"{side}PositionCloseout": {"instrument": name, "units": asked[side]}}
    done = rules(request, book).close_position(name, -amount.copy_sign(held), **spec)
    return settled(book, {f"{side}{key[0].upper()}{key[1:]}": item for key, item in done.items()}, 200)


def _closeout_refused(request: web.Request, book: AccountBook, name: str, status: int) -> web.Response:
    rejected = book.append(
        "MARKET_ORDER_REJECT",
        request.app[VENUE].clock.now_ns(),
        request["id"],
        instrument=name,
        units="0",
        timeInForce="FOK",
        positionFill="REDUCE_ONLY",
        reason="POSITION_CLOSEOUT",
        rejectReason="CLOSEOUT_POSITION_DOESNT_EXIST",
    )
    return refused(book, "longOrderRejectTransaction", rejected, status)
