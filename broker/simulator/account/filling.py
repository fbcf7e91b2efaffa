"""How the venue ends an order: fills and what they do to trades, cancels. Every effect is a transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from broker.simulator.account.account import AccountBook, RestingOrder, Trade, Transaction, money
from broker.simulator.clock import rfc3339
from broker.simulator.market.instruments import LISTINGS
from broker.simulator.market.market import Price, home_factor
from broker.simulator.v20.requests import ON_FILL, OrderSpec

Prices = Mapping[str, Price]
ZERO = "0.0000"
Part = tuple[Trade, dict[str, str]]
"""A trade that a fill reduced, and the venue's words for it."""


@dataclass(slots=True)
class Filling:
    """Fills and cancels on one account at one moment: prices and time are given, nothing is asked for."""

    book: AccountBook
    prices: Prices
    now_ns: int
    request_id: str | None = None

    def write(self, kind: str, batch: str | None = None, **fields: Any) -> Transaction:
        """Writes a transaction at this moment."""
        return self.book.append(kind, self.now_ns, self.request_id, batch, **fields)

    def cancel(self, order: RestingOrder, reason: str, batch: str | None = None, **extra: Any) -> Transaction:
        """Ends an order without a trade."""
        client_id = order.spec.client.get("id")
        ended = self.write("ORDER_CANCEL", batch, orderID=order.id, clientOrderID=client_id, reason=reason, **extra)
        self.book.end_order(order, "CANCELLED")
        order.outcome |= {"cancellingTransactionID": ended["id"], "cancelledTime": ended["time"], **extra}
        return ended

    def fill(self, order: RestingOrder, units: Decimal, batch: str | None, reason: str) -> Transaction:
        """Trades `units` of an order (signed): reduces what is against it, opens the rest."""
        spec, price = order.spec, self.prices[order.spec.instrument]
        at = fill_price(spec, price, units)
        parts, left = self._reduce(spec, units, at)
        factor = home_factor(spec.instrument, self.prices)
        filled = self.write(
            "ORDER_FILL",
            batch,
            orderID=order.id,
            clientOrderID=spec.client.get("id"),
            instrument=spec.instrument,
            units=str(units),
            requestedUnits=str(spec.units),
            price=str(at),
            fullVWAP=str(at),
            fullPrice=full_price(price),
            reason=reason,
            pl=str(money(sum((Decimal(part["realizedPL"]) for _, part in parts), Decimal(0)))),
            financing=ZERO,
            commission=ZERO,
            guaranteedExecutionFee=ZERO,
            accountBalance=str(self.book.balance),
            halfSpreadCost=str(money((price.ask - price.bid) / 2 * abs(units) * factor)),
            gainQuoteHomeConversionFactor=str(factor),
            lossQuoteHomeConversionFactor=str(factor),
        )
        self.book.end_order(order, "FILLED")
        order.outcome |= {"fillingTransactionID": filled["id"], "filledTime": filled["time"]}
        self._note(order, filled, parts)
        if left:
            self._open(order, filled, left, at)
        return filled

    def _reduce(self, spec: OrderSpec, units: Decimal, at: Decimal) -> tuple[list[Part], Decimal]:
        parts: list[Part] = []
        left = units
        for trade in self._against(spec, units):
            if not left:
                break
            taken = min(abs(left), abs(trade.units)).copy_sign(left)
            gain = money((at - trade.price) * -taken * home_factor(trade.instrument, self.prices))
            side = 1 if trade.units > 0 else -1
            trade.units += taken
            trade.closed_value += at * abs(taken)
            self.book.realize(trade, side, gain)
            left -= taken
            part = {"tradeID": trade.id, "units": str(taken), "price": str(at), "realizedPL": str(gain)}
            parts.append((trade, part | {"financing": ZERO, "guaranteedExecutionFee": ZERO, "halfSpreadCost": ZERO}))
        return parts, left

    def _against(self, spec: OrderSpec, units: Decimal) -> list[Trade]:
        if spec.trade_id is not None:
            return [self.book.trades[spec.trade_id]]
        return [trade for trade in self.book.open_trades(spec.instrument) if trade.units * units < 0]

    def _note(self, order: RestingOrder, filled: Transaction, parts: list[Part]) -> None:
        for trade, part in parts:
            trade.closing_ids.append(filled["id"])
            if trade.units:
                filled["tradeReduced"] = part
                order.outcome["tradeReducedID"] = trade.id
            else:
                filled.setdefault("tradesClosed", []).append(part)
                order.outcome.setdefault("tradeClosedIDs", []).append(trade.id)
                self.book.end_trade(trade, self.now_ns)
        for trade, _ in parts:
            if trade.units:
                continue
            for linked in self.book.pending_for(trade.id):
                self.cancel(linked, "LINKED_TRADE_CLOSED", filled["batchID"])

    def _open(self, order: RestingOrder, filled: Transaction, units: Decimal, at: Decimal) -> None:
        spec = order.spec
        trade = Trade(
            id=filled["id"],
            instrument=spec.instrument,
            initial_units=units,
            units=units,
            price=at,
            open_time_ns=self.now_ns,
            initial_margin=money(self.book.margin(spec.instrument, units, self.prices)),
            client=dict(spec.trade_client),
        )
        self.book.add_trade(trade)
        order.outcome["tradeOpenedID"] = trade.id
        filled["tradeOpened"] = {
            "tradeID": trade.id,
            "units": str(units),
            "price": str(at),
            "guaranteedExecutionFee": ZERO,
            "halfSpreadCost": filled["halfSpreadCost"],
            "initialMarginRequired": str(trade.initial_margin),
            **({"clientExtensions": dict(trade.client)} if trade.client else {}),
        }
        for key, kind in ON_FILL.items():
            if key in spec.on_fill:
                self._attach(trade, kind, spec.on_fill[key], filled)

    def _attach(self, trade: Trade, kind: str, raw: Mapping[str, Any], filled: Transaction) -> None:
        spec = OrderSpec(type=kind, instrument=trade.instrument, trade_id=trade.id)
        spec.time_in_force = str(raw.get("timeInForce", "GTC"))
        spec.gtd_time = raw.get("gtdTime")
        spec.client = {key: str(value) for key, value in (raw.get("clientExtensions") or {}).items()}
        spec.distance = Decimal(str(raw["distance"])) if "distance" in raw else None
        if kind != "TRAILING_STOP_LOSS":
            spec.price = protection_price(kind, raw, trade.units, trade.price, trade.instrument)
        self.rest(spec, filled["batchID"], reason="ON_FILL", orderFillTransactionID=filled["id"])

    def rest(self, spec: OrderSpec, batch: str | None = None, **extra: Any) -> tuple[RestingOrder, Transaction]:
        """Writes the create transaction of an order that waits from now on."""
        if spec.type != "TRAILING_STOP_LOSS" and spec.price is None and spec.distance is not None:
            spec.price = self._stop_price(spec)
        created = self.write(f"{spec.type}_ORDER", batch, **spec.wire(), **extra)
        order = RestingOrder(id=created["id"], spec=spec, create_time_ns=self.now_ns)
        order.outcome = {key: extra[key] for key in ("replacesOrderID",) if key in extra}
        if spec.type == "TRAILING_STOP_LOSS":
            order.trailing_value = self.trailing_value(order)
        if spec.type == "MARKET_IF_TOUCHED":
            order.touched_from = LISTINGS[spec.instrument].round(self.prices[spec.instrument].mid)
        self.book.add_order(order)
        return order, created

    def _stop_price(self, spec: OrderSpec) -> Decimal:
        trade = self.book.trades[str(spec.trade_id)]
        at = self.prices[trade.instrument].side(-trade.units)
        return protection_price(spec.type, {"distance": spec.distance}, trade.units, at, trade.instrument)

    def trailing_value(self, order: RestingOrder) -> Decimal | None:
        """Where a trailing stop stands now: it follows the price one way only."""
        trade, distance = self.book.trades.get(order.spec.trade_id or ""), order.spec.distance
        if trade is None or distance is None:
            return order.trailing_value
        price, before = self.prices[trade.instrument], order.trailing_value
        if trade.units > 0:
            value = price.bid - distance
            return value if before is None else max(value, before)
        value = price.ask + distance
        return value if before is None else min(value, before)


def fill_price(spec: OrderSpec, price: Price, units: Decimal) -> Decimal:
    """What an order trades at: a limit never worse than its price, a guaranteed stop exactly at it."""
    at = price.side(units)
    if spec.type == "GUARANTEED_STOP_LOSS" and spec.price is not None:
        return spec.price
    if spec.type in ("LIMIT", "TAKE_PROFIT") and spec.price is not None:
        return min(at, spec.price) if units > 0 else max(at, spec.price)
    return at


def protection_price(kind: str, raw: Mapping[str, Any], units: Decimal, at: Decimal, instrument: str) -> Decimal:
    """The price of a take-profit or stop-loss of a trade of `units` that opens `at`."""
    if raw.get("distance") is None:
        return Decimal(str(raw["price"]))
    away = Decimal(str(raw["distance"])).copy_sign(units)
    return LISTINGS[instrument].round(at + away if kind == "TAKE_PROFIT" else at - away)


def full_price(price: Price) -> dict[str, Any]:
    """`fullPrice` of a fill. `liquidity` is a text here and a number in pricing, as the venue sends it."""
    return {
        "closeoutBid": str(price.bid),
        "closeoutAsk": str(price.ask),
        "timestamp": rfc3339(price.time_ns),
        "bids": [{"price": str(price.bid), "liquidity": str(price.liquidity)}],
        "asks": [{"price": str(price.ask), "liquidity": str(price.liquidity)}],
    }
