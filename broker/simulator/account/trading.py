"""What clients of v20 may do to an account: place, replace, cancel and close. Pure: the log is the effect."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from broker.simulator.account.account import AccountBook, RestingOrder, Trade, Transaction
from broker.simulator.account.matching import Matching
from broker.simulator.http.answers import AnswerError, absent, acted, invalid
from broker.simulator.v20 import requests
from broker.simulator.v20.fields import InvalidRequestError, RejectError, extensions

Json = Mapping[str, Any]
_ECHOED_DEPENDENT = ("tradeID", "price", "distance", "timeInForce", "gtdTime", "clientExtensions")
_ECHOED = ("instrument", "units", "price", "priceBound", "timeInForce", "gtdTime", "positionFill", "clientExtensions")
"""Fields of a request that its reject transaction repeats."""
_DIGITS = 15
_WORDS = {
    "ORDER_DOESNT_EXIST": "The order ID specified does not exist",
    "TRADE_DOESNT_EXIST": "The Trade specified does not exist",
    "CLOSEOUT_POSITION_DOESNT_EXIST": "The Position requested to be closed out does not exist",
}


def place(rules: Matching, body: Any) -> dict[str, Any]:
    """`POST orders`: 201, also where the order is cancelled at once.

    Raises:
        AnswerError: refused, with a reject transaction where the request could be read.
    """
    before = len(rules.book.log)
    try:
        spec = requests.parse(body, _instruments(rules.book), rules.prices)
        return acted(rules.book, rules.create(spec), before)
    except InvalidRequestError as error:
        raise invalid(error.field) from None
    except RejectError as error:
        raise _rejected(rules, body["order"], error.reason, before) from None


def replace(rules: Matching, specifier: str, body: Any) -> dict[str, Any]:
    """`PUT orders/{spec}`: cancels and creates in one step, or does neither.

    Raises:
        AnswerError: the order does not wait, or the new one is refused.
    """
    before = len(rules.book.log)
    old = waiting(rules.book, specifier)
    if old is None:
        raise _cancel_rejected(rules, specifier, before)
    try:
        spec = requests.parse(body, _instruments(rules.book), rules.prices)
        return acted(rules.book, rules.replace(old, spec), before)
    except InvalidRequestError as error:
        raise invalid(error.field) from None
    except RejectError as error:
        raise _rejected(
            rules, body["order"], error.reason, before, reason="REPLACEMENT", intendedReplacesOrderID=old.id
        ) from None


def cancel(rules: Matching, specifier: str) -> dict[str, Any]:
    """`PUT orders/{spec}/cancel`.

    Raises:
        AnswerError: 404 where it does not wait; that it never filled does not follow.
    """
    before = len(rules.book.log)
    order = waiting(rules.book, specifier)
    if order is None:
        raise _cancel_rejected(rules, specifier, before)
    return acted(rules.book, {"orderCancelTransaction": rules.cancel(order, "CLIENT_REQUEST")}, before)


def modify_order(rules: Matching, specifier: str, body: Any) -> dict[str, Any]:
    """`PUT orders/{spec}/clientExtensions`."""
    before = len(rules.book.log)
    order = waiting(rules.book, specifier)
    extensions = _extensions(body)
    if order is None:
        kind = "ORDER_CLIENT_EXTENSIONS_MODIFY_REJECT"
        entry = rules.write(kind, **_names_order(specifier), rejectReason="ORDER_DOESNT_EXIST")
        raise _refused(rules.book, 404, "orderClientExtensionsModifyRejectTransaction", entry, before)
    rules.book.rename_order(order, extensions)
    entry = rules.write("ORDER_CLIENT_EXTENSIONS_MODIFY", orderID=order.id, clientExtensionsModify=extensions)
    return acted(rules.book, {"orderClientExtensionsModifyTransaction": entry}, before)


def modify_trade(rules: Matching, specifier: str, body: Any) -> dict[str, Any]:
    """`PUT trades/{spec}/clientExtensions`."""
    before = len(rules.book.log)
    trade = open_trade(rules.book, specifier)
    extensions = _extensions(body)
    if trade is None:
        kind = "TRADE_CLIENT_EXTENSIONS_MODIFY_REJECT"
        entry = rules.write(kind, tradeID=specifier.lstrip("@"), rejectReason="TRADE_DOESNT_EXIST")
        raise _refused(rules.book, 404, "tradeClientExtensionsModifyRejectTransaction", entry, before)
    trade.client.update(extensions)
    entry = rules.write("TRADE_CLIENT_EXTENSIONS_MODIFY", tradeID=trade.id, tradeClientExtensionsModify=extensions)
    return acted(rules.book, {"tradeClientExtensionsModifyTransaction": entry}, before)


def close_trade(rules: Matching, specifier: str, body: Any) -> dict[str, Any]:
    """`PUT trades/{spec}/close`: `units` or `ALL`."""
    before = len(rules.book.log)
    trade = open_trade(rules.book, specifier)
    text = str(body.get("units", "ALL")) if isinstance(body, Mapping) else "ALL"
    close = {"tradeID": trade.id if trade else specifier, "units": text}
    if trade is None:
        raise _close_rejected(rules, "orderRejectTransaction", 404, "TRADE_DOESNT_EXIST", before, tradeClose=close)
    units = abs(trade.units) if text == "ALL" else _units(text, "units")
    if units > abs(trade.units):
        reason = "CLOSE_TRADE_UNITS_EXCEED_TRADE_SIZE"
        raise _close_rejected(rules, "orderRejectTransaction", 400, reason, before, tradeClose=close)
    return acted(rules.book, rules.close_trade(trade, units, reason="TRADE_CLOSE", tradeClose=close), before)


def close_position(rules: Matching, instrument: str, body: Any) -> dict[str, Any]:
    """`PUT positions/{instrument}/close`: each side `ALL`, `NONE` or units; `ALL` is what is not said.

    Raises:
        AnswerError: 400 where a side that is asked for does not exist, 404 where nothing is open at all.
    """
    before = len(rules.book.log)
    raw = body if isinstance(body, Mapping) else {}
    wanted = {side: str(raw.get(f"{side}Units", "ALL")) for side in _SIDES}
    sides = [side for side in _SIDES if wanted[side] != "NONE"]
    # Without hedging one side exists at most: all are looked at before anything is done.
    sizes = {side: _closable(rules, instrument, side, wanted[side], before) for side in sides}
    answer: dict[str, Transaction] = {}
    for side, units in sizes.items():
        closeout = {f"{side}PositionCloseout": {"instrument": instrument, "units": wanted[side]}}
        client = _client(raw, f"{side}ClientExtensions")
        made = rules.close_position(instrument, -units * _SIDES[side], client, **closeout)
        answer |= {f"{side}{key[0].upper()}{key[1:]}": entry for key, entry in made.items()}
    return acted(rules.book, answer, before)


_SIDES = {"long": 1, "short": -1}


def _closable(rules: Matching, instrument: str, side: str, wanted: str, before: int) -> Decimal:
    held = rules.book.position(instrument)
    size = held * _SIDES[side]
    units = size if wanted == "ALL" else _units(wanted, f"{side}Units")
    if size > 0 and units <= size:
        return units
    reason = "CLOSEOUT_POSITION_DOESNT_EXIST" if size <= 0 else "CLOSEOUT_POSITION_UNITS_EXCEED_POSITION_SIZE"
    closeout = {f"{side}PositionCloseout": {"instrument": instrument, "units": wanted}}
    name = f"{side}OrderRejectTransaction"
    raise _close_rejected(rules, name, 400 if held else 404, reason, before, **closeout)


def protect(rules: Matching, specifier: str, body: Any) -> dict[str, Any]:
    """`PUT trades/{spec}/orders`: a trade's take-profit and stop-losses; null ends one, absent leaves it."""
    before = len(rules.book.log)
    trade = open_trade(rules.book, specifier)
    if trade is None:
        raise absent("NO_SUCH_TRADE", "The trade ID specified does not exist")
    raw = body if isinstance(body, Mapping) else {}
    named = [key for key in _DEPENDENTS if key in raw]
    specs = {key: _dependent(rules, trade, key, raw[key], before) for key in named if raw[key] is not None}
    answer: dict[str, Transaction] = {}
    for key in named:
        held = (item for item in rules.book.pending_for(trade.id) if item.spec.type == _DEPENDENTS[key])
        if (order := next(held, None)) is not None:
            answer[f"{key}OrderCancelTransaction"] = rules.cancel(order, "CLIENT_REQUEST_REPLACED")
        if key in specs:
            answer[f"{key}OrderTransaction"] = rules.create(specs[key])["orderCreateTransaction"]
    return acted(rules.book, answer, before)


def _dependent(rules: Matching, trade: Trade, key: str, raw: Any, before: int) -> requests.OrderSpec:
    if not isinstance(raw, Mapping):
        raise invalid(key)
    request = {**raw, "type": _DEPENDENTS[key], "tradeID": trade.id}
    try:
        spec = requests.parse({"order": request}, _instruments(rules.book), rules.prices)
        rules.check(spec, replaces_like=True)
    except InvalidRequestError as error:
        raise invalid(error.field) from None
    except RejectError as error:
        raise _rejected(rules, request, error.reason, before, name=f"{key}OrderRejectTransaction") from None
    return spec


_DEPENDENTS = {
    "takeProfit": "TAKE_PROFIT",
    "stopLoss": "STOP_LOSS",
    "trailingStopLoss": "TRAILING_STOP_LOSS",
    "guaranteedStopLoss": "GUARANTEED_STOP_LOSS",
}


def waiting(book: AccountBook, specifier: str) -> RestingOrder | None:
    """The pending order of an id, or of `@` and a client id."""
    if specifier.startswith("@"):
        return book.pending_by_client_id(specifier[1:])
    order = book.orders.get(specifier)
    return order if order is not None and order.state == "PENDING" else None


def open_trade(book: AccountBook, specifier: str) -> Trade | None:
    """The open trade of an id, or of `@` and a client id."""
    if specifier.startswith("@"):
        return next((item for item in book.open_trades() if item.client.get("id") == specifier[1:]), None)
    trade = book.trades.get(specifier)
    return trade if trade is not None and trade.state == "OPEN" else None


def _instruments(book: AccountBook) -> dict[str, str]:
    return {trade.id: trade.instrument for trade in book.open_trades()}


def _extensions(body: Any) -> dict[str, str]:
    if not isinstance(body, Mapping) or not isinstance(body.get("clientExtensions"), Mapping):
        raise invalid("clientExtensions")
    return _client(body, "clientExtensions")


def _client(raw: Json, key: str) -> dict[str, str]:
    try:
        return extensions(raw, key)
    except (InvalidRequestError, RejectError):
        raise invalid(key) from None


def _units(text: str, field: str) -> Decimal:
    try:
        units = Decimal(text)
    except InvalidOperation:
        raise invalid(field) from None
    if not units.is_finite() or units <= 0 or units != units.to_integral_value() or units.adjusted() > _DIGITS:
        raise invalid(field)
    return Decimal(format(units, "f"))


def _names_order(specifier: str) -> dict[str, str]:
    return {"clientOrderID": specifier[1:]} if specifier.startswith("@") else {"orderID": specifier}


def _cancel_rejected(rules: Matching, specifier: str, before: int) -> AnswerError:
    reason = "ORDER_DOESNT_EXIST"
    entry = rules.write("ORDER_CANCEL_REJECT", **_names_order(specifier), rejectReason=reason)
    return _refused(rules.book, 404, "orderCancelRejectTransaction", entry, before)


def _close_rejected(
    rules: Matching, name: str, status: int, reason: str, before: int, **closeout: Any
) -> AnswerError:
    why = "TRADE_CLOSE" if "tradeClose" in closeout else "POSITION_CLOSEOUT"
    entry = rules.write("MARKET_ORDER_REJECT", **closeout, reason=why, rejectReason=reason)
    return _refused(rules.book, status, name, entry, before)


def _rejected(
    rules: Matching,
    raw: Json,
    reject_reason: str,
    before: int,
    *,
    name: str = "orderRejectTransaction",
    reason: str = "CLIENT_ORDER",
    **extra: Any,
) -> AnswerError:
    kind = f"{raw.get('type', 'MARKET')}_ORDER_REJECT"
    names = _ECHOED_DEPENDENT if raw.get("type") in requests.DEPENDENT_TYPES else _ECHOED
    echoed = {key: raw[key] if isinstance(raw[key], Mapping) else str(raw[key]) for key in names if key in raw}
    entry = rules.write(kind, **echoed, reason=reason, **extra, rejectReason=reject_reason)
    status = 404 if reject_reason.endswith("DOESNT_EXIST") else 400
    return _refused(rules.book, status, name, entry, before)


def _refused(book: AccountBook, status: int, name: str, entry: Transaction, before: int) -> AnswerError:
    reason = entry["rejectReason"]
    words = {"errorCode": reason, "errorMessage": _WORDS.get(reason, reason.replace("_", " ").capitalize())}
    return AnswerError(status, acted(book, {name: entry}, before) | words)
