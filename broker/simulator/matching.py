"""What the venue does with orders: takes, fills, cancels, triggers. Every effect is a transaction of the log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from broker.simulator.account import AccountBook, RestingOrder, Trade, Transaction, margin, money
from broker.simulator.clock import parse_ns, rfc3339
from broker.simulator.instruments import LISTINGS
from broker.simulator.market import LIQUIDITY, Price, home_factor
from broker.simulator.requests import DEPENDENT_TYPES, ON_FILL, OrderSpec, RejectError

Prices = Mapping[str, Price]
_REASON = {
    "MARKET": "MARKET_ORDER",
    "LIMIT": "LIMIT_ORDER",
    "STOP": "STOP_ORDER",
    "MARKET_IF_TOUCHED": "MARKET_IF_TOUCHED_ORDER",
    "TAKE_PROFIT": "TAKE_PROFIT_ORDER",
    "STOP_LOSS": "STOP_LOSS_ORDER",
    "GUARANTEED_STOP_LOSS": "GUARANTEED_STOP_LOSS_ORDER",
    "TRAILING_STOP_LOSS": "TRAILING_STOP_LOSS_ORDER",
}


class Matching:
    """The rules, applied to one account at one moment: prices and time are given, nothing is asked for."""

    def __init__(self, book: AccountBook, prices: Prices, now_ns: int, request_id: str = "0") -> None:
        self.book = book
        self.prices = prices
        self.now_ns = now_ns
        self.request_id = request_id

    def create(self, spec: OrderSpec, *, reason: str = "CLIENT_ORDER", **extra: Any) -> dict[str, Transaction]:
        """Takes an order and does at once what its type wants; the transactions by the names of the answer.

        Raises:
            RejectError: the venue refuses it; the caller writes the reject.
        """
        client_id = spec.client.get("id")
        if client_id and any(order.spec.client.get("id") == client_id for order in self.book.pending()):
            raise RejectError("CLIENT_ORDER_ID_ALREADY_EXISTS")
        created = self._write(f"{spec.type}_ORDER", **describe(spec), reason=reason, **extra)
        answer = {"orderCreateTransaction": created}
        order = RestingOrder(id=created["id"], spec=spec, create_time_ns=self.now_ns)
        if spec.type == "TRAILING_STOP_LOSS":
            order.trailing_value = self._trailing_value(order)
        self.book.rest(order)
        answer.update(self._act(order, created))
        return answer

    def _act(self, order: RestingOrder, created: Transaction) -> dict[str, Transaction]:
        spec = order.spec
        price = self.prices[spec.instrument]
        batch = created["batchID"]
        if spec.type == "MARKET":
            return self._fill_or_cancel(order, batch)
        if spec.type not in DEPENDENT_TYPES and price.tradeable and is_triggered(order, price):
            return self._fill_or_cancel(order, batch)
        if spec.time_in_force in ("FOK", "IOC"):
            return {"orderCancelTransaction": self.cancel(order, "TIME_IN_FORCE_EXPIRED", batch)}
        return {}

    def _fill_or_cancel(self, order: RestingOrder, batch: str) -> dict[str, Transaction]:
        reason = self._refusal(order.spec)
        if reason is not None:
            return {"orderCancelTransaction": self.cancel(order, reason, batch)}
        filled = self._fillable(order.spec)
        if not filled or (abs(filled) < abs(order.spec.units) and order.spec.time_in_force == "FOK"):
            return {"orderCancelTransaction": self.cancel(order, "INSUFFICIENT_LIQUIDITY", batch)}
        return {"orderFillTransaction": self._fill(order, filled, batch)}

    def _refusal(self, spec: OrderSpec) -> str | None:
        price = self.prices[spec.instrument]
        if not price.tradeable:
            return "MARKET_HALTED"
        at = price.side(spec.units)
        bound = spec.price_bound
        if bound is not None and (at > bound if spec.units > 0 else at < bound):
            return "BOUNDS_VIOLATION"
        before = self.book.position(spec.instrument)
        after = before + spec.units
        if abs(after) > abs(before):
            more = margin(spec.instrument, after, self.prices) - margin(spec.instrument, before, self.prices)
            if self.book.margin_used(self.prices) + more > self.book.equity(self.prices):
                return "INSUFFICIENT_MARGIN"
        return None

    def _fillable(self, spec: OrderSpec) -> Decimal:
        units = spec.units
        if abs(units) > LIQUIDITY:
            units = Decimal(LIQUIDITY).copy_sign(units)
        if spec.position_fill == "REDUCE_ONLY":
            held = self.book.position(spec.instrument)
            if held * units >= 0:
                return Decimal(0)
            units = min(abs(units), abs(held)).copy_sign(units)
        return units

    def _fill(self, order: RestingOrder, units: Decimal, batch: str, *, reason: str | None = None) -> Transaction:
        spec = order.spec
        price = self.prices[spec.instrument]
        at = self._fill_price(order, price, units)
        closed, left = self._reduce(spec, units, at)
        realized = sum((Decimal(part["realizedPL"]) for _, part in closed), Decimal(0))
        self.book.balance += realized
        self.book.realized[spec.instrument] = self.book.realized.get(spec.instrument, Decimal(0)) + realized
        half_spread = money((price.ask - price.bid) / 2 * abs(units) * home_factor(spec.instrument, self.prices))
        filled = self._write(
            "ORDER_FILL",
            batch,
            orderID=order.id,
            clientOrderID=spec.client.get("id"),
            instrument=spec.instrument,
            units=str(units),
            requestedUnits=str(spec.units),
            price=str(at),
            fullVWAP=str(at),
            fullPrice=wire_price(price),
            reason=reason or _REASON[spec.type],
            pl=str(money(realized)),
            financing="0.0000",
            commission="0.0000",
            guaranteedExecutionFee="0.0000",
            accountBalance=str(self.book.balance),
            halfSpreadCost=str(half_spread),
            gainQuoteHomeConversionFactor=str(home_factor(spec.instrument, self.prices)),
            lossQuoteHomeConversionFactor=str(home_factor(spec.instrument, self.prices)),
        )
        order.filled_by = filled["id"]
        self.book.end(order, "FILLED")
        self._note_trades(filled, closed)
        if left:
            self._open(filled, spec, left, at)
        return filled

    def _fill_price(self, order: RestingOrder, price: Price, units: Decimal) -> Decimal:
        spec = order.spec
        at = price.side(units)
        if spec.type == "GUARANTEED_STOP_LOSS" and spec.price is not None:
            return spec.price
        if spec.type in ("LIMIT", "TAKE_PROFIT") and spec.price is not None:
            return min(at, spec.price) if units > 0 else max(at, spec.price)
        return at

    def _reduce(
        self, spec: OrderSpec, units: Decimal, at: Decimal
    ) -> tuple[list[tuple[Trade, dict[str, str]]], Decimal]:
        closed = []
        left = units
        for trade in self._against(spec, units):
            if not left:
                break
            taken = min(abs(left), abs(trade.units)).copy_sign(left)
            gain = money((at - trade.price) * -taken * home_factor(trade.instrument, self.prices))
            trade.units += taken
            trade.realized += gain
            left -= taken
            part = {"tradeID": trade.id, "units": str(taken), "price": str(at), "realizedPL": str(gain)}
            closed.append((trade, part | {"financing": "0.0000", "halfSpreadCost": "0.0000"}))
        return closed, left

    def _against(self, spec: OrderSpec, units: Decimal) -> list[Trade]:
        if spec.trade_id is not None:
            return [self.book.trades[spec.trade_id]]
        if spec.position_fill == "OPEN_ONLY":
            return []
        return [trade for trade in self.book.open_trades(spec.instrument) if trade.units * units < 0]

    def _note_trades(self, filled: Transaction, closed: list[tuple[Trade, dict[str, str]]]) -> None:
        for trade, part in closed:
            if trade.units:
                filled["tradeReduced"] = part
                continue
            filled.setdefault("tradesClosed", []).append(part)
            self.book.close(trade, self.now_ns, Decimal(part["price"]))
            for order in self.book.pending():
                if order.spec.trade_id == trade.id and order.id != filled["orderID"]:
                    self.cancel(order, "LINKED_TRADE_CLOSED", filled["batchID"])

    def _open(self, filled: Transaction, spec: OrderSpec, units: Decimal, at: Decimal) -> None:
        trade = Trade(
            id=filled["id"],
            instrument=spec.instrument,
            initial_units=units,
            units=units,
            price=at,
            open_time_ns=self.now_ns,
        )
        self.book.open(trade)
        filled["tradeOpened"] = {
            "tradeID": trade.id,
            "units": str(units),
            "price": str(at),
            "guaranteedExecutionFee": "0.0000",
            "halfSpreadCost": filled["halfSpreadCost"],
            "initialMarginRequired": str(money(margin(spec.instrument, units, self.prices))),
        }
        for key, kind in ON_FILL.items():
            if key in spec.on_fill:
                self._attach(trade, kind, spec.on_fill[key], filled["batchID"])

    def _attach(self, trade: Trade, kind: str, raw: Mapping[str, Any], batch: str) -> None:
        listing = LISTINGS[trade.instrument]
        spec = OrderSpec(type=kind, instrument=trade.instrument, trade_id=trade.id)
        spec.time_in_force = str(raw.get("timeInForce", "GTC"))
        spec.gtd_time = raw.get("gtdTime")
        if kind == "TRAILING_STOP_LOSS":
            spec.distance = Decimal(str(raw["distance"]))
        elif "distance" in raw:
            away = Decimal(str(raw["distance"])).copy_sign(trade.units)
            spec.price = listing.round(trade.price + (away if kind == "TAKE_PROFIT" else -away))
        else:
            spec.price = Decimal(str(raw["price"]))
        created = self._write(f"{kind}_ORDER", batch, **describe(spec), reason="ON_FILL")
        order = RestingOrder(id=created["id"], spec=spec, create_time_ns=self.now_ns)
        order.trailing_value = self._trailing_value(order) if spec.distance else None
        self.book.rest(order)

    def cancel(self, order: RestingOrder, reason: str, batch: str | None = None, **extra: Any) -> Transaction:
        """Ends an order without a trade."""
        ended = self._write(
            "ORDER_CANCEL",
            batch,
            orderID=order.id,
            clientOrderID=order.spec.client.get("id"),
            reason=reason,
            **extra,
        )
        order.cancelled_by = ended["id"]
        self.book.end(order, "CANCELLED")
        return ended

    def close_trade(self, trade: Trade, units: Decimal, *, reason: str, **extra: Any) -> dict[str, Transaction]:
        """A market order that reduces one trade by `units` (positive)."""
        spec = OrderSpec(type="MARKET", instrument=trade.instrument, time_in_force="FOK", trade_id=trade.id)
        spec.units = -units.copy_sign(trade.units)
        spec.position_fill = "REDUCE_ONLY"
        created = self._write("MARKET_ORDER", **describe(spec), reason=reason, **extra)
        order = RestingOrder(id=created["id"], spec=spec, create_time_ns=self.now_ns)
        self.book.rest(order)
        answer = {"orderCreateTransaction": created}
        if not self.prices[trade.instrument].tradeable:
            answer["orderCancelTransaction"] = self.cancel(order, "MARKET_HALTED", created["batchID"])
        else:
            fill_reason = reason.replace("TRADE_CLOSE", "MARKET_ORDER_TRADE_CLOSE")
            filled = self._fill(order, spec.units, created["batchID"], reason=fill_reason)
            answer["orderFillTransaction"] = filled
        return answer

    def close_position(self, instrument: str, units: Decimal, **extra: Any) -> dict[str, Transaction]:
        """A market order that reduces the position by `units` (signed against it)."""
        spec = OrderSpec(type="MARKET", instrument=instrument, units=units, time_in_force="FOK")
        spec.position_fill = "REDUCE_ONLY"
        return self.create(spec, reason="POSITION_CLOSEOUT", **extra)

    def tick(self) -> None:
        """Expires, trails and triggers what waits, after prices or time moved."""
        for order in self.book.pending():
            price = self.prices[order.spec.instrument]
            if order.state != "PENDING":
                continue  # ended by an earlier one of this round
            if order.spec.gtd_time and parse_ns(order.spec.gtd_time) <= self.now_ns:
                self.cancel(order, "TIME_IN_FORCE_EXPIRED")
            elif price.tradeable:
                self._trigger(order, price)

    def _trigger(self, order: RestingOrder, price: Price) -> None:
        if order.spec.distance is not None:
            order.trailing_value = self._trailing_value(order)
        if not is_triggered(order, price, self._trade_of(order)):
            return
        if (trade := self._trade_of(order)) is None:
            self._fill_or_cancel(order, self._next_id())
            return
        spec = replace(order.spec, units=-trade.units, position_fill="REDUCE_ONLY")
        order.spec = spec
        self._fill(order, spec.units, self._next_id())

    def _trade_of(self, order: RestingOrder) -> Trade | None:
        return self.book.trades.get(order.spec.trade_id) if order.spec.trade_id else None

    def _trailing_value(self, order: RestingOrder) -> Decimal | None:
        trade, distance = self._trade_of(order), order.spec.distance
        if trade is None or distance is None:
            return order.trailing_value
        price, before = self.prices[trade.instrument], order.trailing_value
        if trade.units > 0:
            value = price.bid - distance
            return value if before is None else max(value, before)
        value = price.ask + distance
        return value if before is None else min(value, before)

    def _next_id(self) -> str:
        return str(len(self.book.log) + 1)

    def _write(self, kind: str, batch: str | None = None, **fields: Any) -> Transaction:
        return self.book.append(kind, self.now_ns, self.request_id, batch, **fields)


def is_triggered(order: RestingOrder, price: Price, trade: Trade | None = None) -> bool:
    """Whether a resting order trades at this price."""
    spec = order.spec
    level = spec.price if order.trailing_value is None else order.trailing_value
    if level is None:
        return False
    units = -trade.units if trade is not None else spec.units
    at = price.side(units)
    if spec.type == "MARKET_IF_TOUCHED":
        # The level is above or below the market at creation; touching it from either side triggers.
        return price.bid <= level <= price.ask or (at <= level if units > 0 else at >= level)
    waits_for_better = spec.type in ("LIMIT", "TAKE_PROFIT")
    return at <= level if (units > 0) == waits_for_better else at >= level


def describe(spec: OrderSpec) -> dict[str, Any]:
    """The fields of a create or reject transaction."""
    fields: dict[str, Any] = {"timeInForce": spec.time_in_force}
    if spec.trade_id is not None and spec.type in DEPENDENT_TYPES:
        fields["tradeID"] = spec.trade_id
    else:
        fields |= {"instrument": spec.instrument, "units": str(spec.units), "positionFill": spec.position_fill}
    for name, value in (("price", spec.price), ("priceBound", spec.price_bound), ("distance", spec.distance)):
        if value is not None:
            fields[name] = str(value)
    if spec.type != "MARKET":
        fields["triggerCondition"] = "DEFAULT"
    if spec.gtd_time is not None:
        fields["gtdTime"] = spec.gtd_time
    if spec.client:
        fields["clientExtensions"] = dict(spec.client)
    return fields | {key: dict(value) for key, value in spec.on_fill.items()}


def wire_price(price: Price) -> dict[str, Any]:
    """`fullPrice` of a fill. `liquidity` is a text here and a number in pricing, as the venue sends it."""
    return {
        "closeoutBid": str(price.bid),
        "closeoutAsk": str(price.ask),
        "timestamp": rfc3339(price.time_ns),
        "bids": [{"price": str(price.bid), "liquidity": str(LIQUIDITY)}],
        "asks": [{"price": str(price.ask), "liquidity": str(LIQUIDITY)}],
    }
