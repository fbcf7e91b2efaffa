"""Actions of v20's clients on an account: place, replace, cancel, modify, close and configure."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from broker.simulator.account.book import CLOSEOUT_SHARE, AccountBook, RestingOrder, SimulatedTrade
from broker.simulator.account.matching import Made, Matching
from broker.simulator.market.instruments import LISTINGS, Listing
from broker.simulator.v20.answers import RefusalError, absent, invalid
from broker.simulator.v20.order_requests import (
    DEPENDENTS,
    OrderSpec,
    RejectError,
    extensions,
    in_units,
    number,
    parse_order,
    text,
)

_ECHOED_ALWAYS = ("price", "timeInForce", "gtdTime", "triggerCondition", "clientExtensions")
_ECHOED_DEPENDENT = ("tradeID", "distance", *_ECHOED_ALWAYS)
_ECHOED = ("instrument", "units", "priceBound", "positionFill", *_ECHOED_ALWAYS)
"""Fields of a request that its reject transaction repeats."""
_MESSAGES = {
    "ORDER_DOESNT_EXIST": "The order ID specified does not exist",
    "TRADE_DOESNT_EXIST": "The Trade specified does not exist",
    "CLOSEOUT_POSITION_DOESNT_EXIST": "The Position requested to be closed out does not exist",
}
_ID_TAKEN = "CLIENT_ORDER_ID_ALREADY_EXISTS"
_SIDES = {"long": 1, "short": -1}


def place(rules: Matching, body: Any) -> dict[str, Any]:
    """`POST orders`: 201, also where the order is cancelled at once.

    Raises RefusalError: refused, with a reject transaction where the request could be read.
    """
    try:
        return rules.acted(rules.create(_parse(rules, body)))
    except RejectError as error:
        raise _rejected(rules, body["order"], error.reason) from None


def replace(rules: Matching, specifier: str, body: Any) -> dict[str, Any]:
    """`PUT orders/{spec}`: cancels and creates in one step, or does neither.

    Raises RefusalError: the order does not wait, or the new one is refused.
    """
    old = _waiting_or_reject(rules, specifier)
    try:
        return rules.acted(rules.replace(old, _parse(rules, body)))
    except RejectError as error:
        more = {"reason": "REPLACEMENT", "intendedReplacesOrderID": old.id}
        raise _rejected(rules, body["order"], error.reason, **more) from None


def cancel(rules: Matching, specifier: str, _body: Any = None) -> dict[str, Any]:
    """`PUT orders/{spec}/cancel`.

    Raises RefusalError: 404 where it does not wait; that it never filled does not follow.
    """
    order = _waiting_or_reject(rules, specifier)
    return rules.acted({"orderCancelTransaction": rules.fills.cancel(order, "CLIENT_REQUEST")})


def _waiting_or_reject(rules: Matching, specifier: str) -> RestingOrder:
    if (order := waiting(rules.book, specifier)) is None:
        raise _refused(rules, "orderCancel", "ORDER_CANCEL", "ORDER_DOESNT_EXIST", 404, **_names_order(specifier))
    return order


def modify_order(rules: Matching, specifier: str, body: Any) -> dict[str, Any]:
    """`PUT orders/{spec}/clientExtensions`."""
    order = waiting(rules.book, specifier)
    # Read first: a bad body is a 400 without a transaction, even where the order does not exist.
    keys = ("clientExtensions", "tradeClientExtensions")
    changed = _new_extensions(body, *keys)
    kind, name = "ORDER_CLIENT_EXTENSIONS_MODIFY", "orderClientExtensionsModify"
    if order is None:
        raise _refused(rules, name, kind, "ORDER_DOESNT_EXIST", 404, **_names_order(specifier))
    rules.book.rename_order(order, changed.get(keys[0], {}))
    order.spec.trade_client.update(changed.get(keys[1], {}))
    fields: dict[str, Any] = {f"{key}Modify": value for key, value in changed.items()}
    written = rules.fills.write(kind, orderID=order.id, **fields)
    return rules.acted({f"{name}Transaction": written})


def modify_trade(rules: Matching, specifier: str, body: Any) -> dict[str, Any]:
    """`PUT trades/{spec}/clientExtensions`."""
    trade = open_trade(rules.book, specifier)
    client = _new_extensions(body, "clientExtensions")["clientExtensions"]
    kind, name = "TRADE_CLIENT_EXTENSIONS_MODIFY", "tradeClientExtensionsModify"
    if trade is None:
        raise _refused(rules, name, kind, "TRADE_DOESNT_EXIST", 404, tradeID=specifier.lstrip("@"))
    trade.client.update(client)
    written = rules.fills.write(kind, tradeID=trade.id, tradeClientExtensionsModify=client)
    return rules.acted({f"{name}Transaction": written})


def close_trade(rules: Matching, specifier: str, body: Any) -> dict[str, Any]:
    """`PUT trades/{spec}/close`: `units` or `ALL`."""
    trade = open_trade(rules.book, specifier)
    wanted = str(body.get("units", "ALL")) if isinstance(body, Mapping) else "ALL"
    # The log names the trade by its id, also where the request named it by a client id.
    close = {"tradeID": trade.id if trade else specifier, "units": wanted}
    if trade is None:
        raise _close_rejected(rules, "TRADE_DOESNT_EXIST", 404, tradeClose=close)
    units = abs(trade.units) if wanted == "ALL" else _units(wanted, "units", LISTINGS[trade.instrument])
    if units > abs(trade.units):
        known = {"instrument": trade.instrument, "units": str(-units.copy_sign(trade.units))}
        raise _close_rejected(rules, "CLOSE_TRADE_UNITS_EXCEED_TRADE_SIZE", 400, **known, tradeClose=close)
    return rules.acted(rules.reduce_trade(trade, units, "TRADE_CLOSE", tradeClose=close))


def close_position(rules: Matching, instrument: str, body: Any) -> dict[str, Any]:
    """`PUT positions/{instrument}/close`: each side `ALL`, `NONE` or units; a side that is not named is left alone.

    Raises RefusalError: 400 where a side that is asked for does not exist, 404 where nothing is open at all.
    """
    # The venue refuses `{}` as well (v20-python#24).
    if not isinstance(body, Mapping) or not body:
        raise RefusalError(400, {"errorMessage": "Invalid JSON body, must be an object"})
    raw = body
    wanted = {side: str(raw.get(f"{side}Units", "NONE")) for side in _SIDES}
    # Without hedging one side exists at most: both are checked before anything is done.
    asked = {side: amount for side, amount in wanted.items() if amount != "NONE"}
    sizes = {side: _close_units(rules, instrument, side, amount) for side, amount in asked.items()}
    reasons = {side: _close_refusal(rules, instrument, side, units) for side, units in sizes.items()}
    if any(reasons.values()):
        raise _position_rejected(rules, instrument, raw, sizes, reasons)
    made: Made = {}
    for side, units in sizes.items():
        closeout = {f"{side}PositionCloseout": {"instrument": instrument, "units": wanted[side]}}
        # Against the side: selling closes a long position.
        spec = OrderSpec(type="MARKET", instrument=instrument, units=-units * _SIDES[side])
        spec.client = _extensions(raw, f"{side}ClientExtensions")
        closed = rules.reduce(spec, "POSITION_CLOSEOUT", **closeout)
        made |= {f"{side}{key[0].upper()}{key[1:]}": entry for key, entry in closed.items()}
    return rules.acted(made)


def _close_units(rules: Matching, instrument: str, side: str, wanted: str) -> Decimal:
    held = rules.book.position(instrument) * _SIDES[side]
    return max(held, Decimal(0)) if wanted == "ALL" else _units(wanted, f"{side}Units", LISTINGS[instrument])


def _close_refusal(rules: Matching, instrument: str, side: str, units: Decimal) -> str | None:
    held = rules.book.position(instrument) * _SIDES[side]
    if held <= 0:
        return "CLOSEOUT_POSITION_DOESNT_EXIST"
    return "CLOSEOUT_POSITION_UNITS_EXCEED_POSITION_SIZE" if units > held else None


def _position_rejected(
    rules: Matching,
    instrument: str,
    raw: Mapping[str, Any],
    sizes: Mapping[str, Decimal],
    reasons: Mapping[str, str | None],
) -> RefusalError:
    """Reject every side that is asked for, in one batch: one that could have been closed falls with the other."""
    made: Made = {}
    for side, units in sizes.items():
        fields: dict[str, Any] = {"instrument": instrument, "timeInForce": "FOK", "positionFill": "REDUCE_ONLY"}
        if units:
            fields["units"] = str(-units * _SIDES[side])
        fields[f"{side}PositionCloseout"] = {"instrument": instrument, "units": str(raw[f"{side}Units"])}
        reason = reasons[side] or "CLOSEOUT_POSITION_REJECT"
        batch = next(iter(made.values()))["id"] if made else None
        written = rules.fills.write(
            "MARKET_ORDER_REJECT", batch, **fields, reason="POSITION_CLOSEOUT", rejectReason=reason
        )
        made[f"{side}OrderRejectTransaction"] = written
    status = 400 if rules.book.position(instrument) else 404
    return RefusalError(status, rules.acted(made) | _words(next(filter(None, reasons.values()))))


def protect(rules: Matching, specifier: str, body: Any) -> dict[str, Any]:
    """`PUT trades/{spec}/orders`: a trade's take-profit and stop-losses; null ends one, absent leaves it.

    One that is there hands on the fields that its successor does not name.
    """
    trade = open_trade(rules.book, specifier)
    if trade is None:
        raise absent("NO_SUCH_TRADE", "The trade ID specified does not exist")
    raw = body if isinstance(body, Mapping) else {}
    # All are read and checked before the first one is ended: a refusal leaves the trade as it was.
    named = [key for key in DEPENDENTS if key in raw]
    held = {item.spec.type: item for item in rules.book.pending_for(trade.id)}
    olds = {key: held.get(DEPENDENTS[key]) for key in named}
    specs = {key: _protection(rules, trade, key, raw[key], olds[key]) for key in named if raw[key] is not None}
    taken: set[str] = set()
    for key, spec in specs.items():
        if (client_id := spec.client.get("id")) in taken:
            raise _rejected(rules, spec.payload() | {"type": spec.type}, _ID_TAKEN, name=f"{key}Order")
        taken |= {client_id} if client_id else set()
    made: Made = {}
    for key in named:
        old, new = olds[key], specs.get(key)
        # One batch for all of a request, as recorded.
        batch = next(iter(made.values()))["batchID"] if made else None
        if new is not None:
            changed = rules.create(new, batch=batch) if old is None else rules.replace(old, new, batch)
            made[f"{key}OrderTransaction"] = changed["orderCreateTransaction"]
            if "orderCancelTransaction" in changed:
                made[f"{key}OrderCancelTransaction"] = changed["orderCancelTransaction"]
        elif old is not None:
            made[f"{key}OrderCancelTransaction"] = rules.fills.cancel(old, "CLIENT_REQUEST", batch)
    return rules.acted(made)


def _protection(rules: Matching, trade: SimulatedTrade, key: str, raw: Any, old: RestingOrder | None) -> OrderSpec:
    if not isinstance(raw, Mapping):
        raise invalid(key)
    given = {name: value for name, value in raw.items() if value is not None}
    request = {**_inherited(old, given), **given, "type": DEPENDENTS[key], "tradeID": trade.id}
    try:
        spec = _parse(rules, {"order": request})
        rules.check(spec, replaced=old)
    except RejectError as error:
        raise _rejected(rules, request, error.reason, name=f"{key}Order") from None
    return spec


def _inherited(old: RestingOrder | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of the order that is replaced, but for those that the request settles by others."""
    if old is None:
        return {}
    fields = old.spec.payload()
    # A price that was counted from a distance is the price from then on.
    settled = {"price", "distance"} if {"price", "distance"} & set(given) else {"distance"} if old.spec.price else set()
    settled |= {"gtdTime"} if given.get("timeInForce", "GTD") != "GTD" else set()
    return {name: value for name, value in fields.items() if name not in settled}


def configure(rules: Matching, body: Any) -> dict[str, Any]:
    """`PATCH configuration`. Raises RefusalError: 400, with a reject transaction where the request could be read."""
    if not isinstance(body, Mapping):
        raise invalid("configureAccountBody")
    asked = {name: str(body[name]) for name in ("alias", "marginRate") if body.get(name) is not None}
    try:
        # Both are read and checked before either is set.
        alias = text(body, "alias", rules.book.alias, where="")
        was = rules.book.margin_rate
        rate = number(body, "marginRate", "MARGIN_RATE", where="") if "marginRate" in asked else was
        _check_margin(rules, asked, rate)
    except RejectError as error:
        rejected = rules.fills.write("CLIENT_CONFIGURE_REJECT", **asked, rejectReason=error.reason)
        shown = {"clientConfigureRejectTransaction": rejected, "lastTransactionID": rules.book.last_id}
        raise RefusalError(400, shown | _words(error.reason)) from None
    rules.book.alias, rules.book.margin_rate = alias, rate
    written = rules.fills.write("CLIENT_CONFIGURE", **asked)
    return {"clientConfigureTransaction": written, "lastTransactionID": rules.book.last_id}


def _check_margin(rules: Matching, asked: Mapping[str, str], rate: Decimal) -> None:
    """Refuse a rate that would close open positions."""
    if not asked:
        raise RejectError("CLIENT_CONFIGURE_DATA_MISSING")
    if not 0 < rate <= 1:
        raise RejectError("MARGIN_RATE_INVALID")
    # A lower rate frees margin, and cannot hurt.
    if rate <= rules.book.margin_rate:
        return
    used, equity = rules.book.margin_used(rate), rules.book.equity()
    if used * CLOSEOUT_SHARE >= equity:
        raise RejectError("MARGIN_RATE_WOULD_TRIGGER_CLOSEOUT")
    if used > equity:
        raise RejectError("MARGIN_RATE_WOULD_TRIGGER_MARGIN_CALL")


def waiting(book: AccountBook, specifier: str) -> RestingOrder | None:
    """Pending order of an id, or of `@` and a client id."""
    if specifier.startswith("@"):
        # `@` marks a client id (v20, OrderSpecifier and TradeSpecifier).
        return book.pending_by_client_id(specifier[1:])
    order = book.orders.get(specifier)
    return order if order is not None and order.state == "PENDING" else None


def open_trade(book: AccountBook, specifier: str) -> SimulatedTrade | None:
    """Open trade of an id, or of `@` and a client id."""
    if specifier.startswith("@"):
        return next((item for item in book.open_trades() if item.client.get("id") == specifier[1:]), None)
    trade = book.trades.get(specifier)
    return trade if trade is not None and trade.state == "OPEN" else None


def _parse(rules: Matching, body: Any) -> OrderSpec:
    return parse_order(body, {trade.id: trade.instrument for trade in rules.book.open_trades()}, rules.prices)


def _new_extensions(body: Any, *keys: str) -> dict[str, dict[str, str]]:
    given = [key for key in keys if isinstance(body, Mapping) and isinstance(body.get(key), Mapping)]
    if not given:
        raise invalid(keys[0])
    return {key: _extensions(body, key) for key in given}


def _extensions(raw: Mapping[str, Any], key: str) -> dict[str, str]:
    try:
        return extensions(raw, key)
    except (RefusalError, RejectError):
        raise invalid(key) from None


def _units(amount: str, field: str, listing: Listing) -> Decimal:
    units = number({field: amount}, field, "UNITS", where="")
    try:
        if units > 0:
            return in_units(units, listing)
    except RejectError:
        pass
    raise invalid(field)


def _names_order(specifier: str) -> dict[str, str]:
    return {"clientOrderID": specifier[1:]} if specifier.startswith("@") else {"orderID": specifier}


def _close_rejected(rules: Matching, reject: str, status: int, **fields: Any) -> RefusalError:
    close = {"timeInForce": "FOK", "positionFill": "REDUCE_ONLY", **fields}
    return _refused(rules, "order", "MARKET_ORDER", reject, status, **close, reason="TRADE_CLOSE")


def _rejected(
    rules: Matching,
    raw: Mapping[str, Any],
    reject: str,
    *,
    name: str = "order",
    reason: str = "CLIENT_ORDER",
    **extra: Any,
) -> RefusalError:
    kind = raw.get("type", "MARKET")
    names = _ECHOED_DEPENDENT if kind in DEPENDENTS.values() else _ECHOED
    # As texts, whatever they came as: the log of v20 has no other numbers.
    echoed = {key: raw[key] if isinstance(raw[key], Mapping) else str(raw[key]) for key in names if key in raw}
    status = 404 if reject.endswith("DOESNT_EXIST") else 400
    return _refused(rules, name, f"{kind}_ORDER", reject, status, **echoed, reason=reason, **extra)


def _refused(rules: Matching, name: str, kind: str, reject: str, status: int, **fields: Any) -> RefusalError:
    """Write a reject transaction; return the refusal that shows it as `{name}RejectTransaction`."""
    written = rules.fills.write(f"{kind}_REJECT", **fields, rejectReason=reject)
    return RefusalError(status, rules.acted({f"{name}RejectTransaction": written}) | _words(reject))


def _words(reject: str) -> dict[str, str]:
    return {"errorCode": reject, "errorMessage": _MESSAGES.get(reject, reject.replace("_", " ").capitalize())}
