"""Ends of orders at the simulated venue: fills with their effect on trades, and cancels. All are transactions."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from broker.simulator.account.book import (
    ZERO,
    AccountBook,
    RestingOrder,
    SimulatedTrade,
    TransactionPayload,
    money,
    money_texts,
)
from broker.simulator.clock import rfc3339
from broker.simulator.market.instruments import LISTINGS, Listing
from broker.simulator.market.market import BUY, SELL, Price, conversion
from broker.simulator.v20.order_requests import ON_FILL, OrderSpec

MILLION = 1_000_000
Reduction = tuple[SimulatedTrade, dict[str, str]]
"""A trade that a fill reduced, and the venue's object of that part."""


@dataclass(slots=True)
class Fills:
    """Writes fills and cancels on one account at one moment."""

    book: AccountBook
    now_ns: int
    request_id: str | None = None

    def write(self, kind: str, batch: str | None = None, **fields: Any) -> TransactionPayload:
        """Write a transaction at this moment."""
        return self.book.append(kind, self.now_ns, self.request_id, batch, **fields)

    def cancel(self, order: RestingOrder, reason: str, batch: str | None = None, **extra: Any) -> TransactionPayload:
        """End an order without a trade."""
        client_id = order.spec.client.get("id")
        ended = self.write("ORDER_CANCEL", batch, orderID=order.id, clientOrderID=client_id, reason=reason, **extra)
        self.book.end_order(order, "CANCELLED")
        order.outcome |= {"cancellingTransactionID": ended["id"], "cancelledTime": ended["time"], **extra}
        return ended

    def fill(
        self, order: RestingOrder, units: Decimal, batch: str | None, reason: str, *, rests: bool = False
    ) -> TransactionPayload:
        """Trade `units` of an order (signed): reduce the trades against it, open the rest.

        With `rests` the order waits on for what it did not get.
        """
        spec, price = order.spec, self.book.prices[order.spec.instrument]
        listing = spec.listing
        average = listing.round(price.average(units))
        at = _fill_price(spec, average, units)
        factors = self._factors(listing)
        # Reduced before the fill is written, for that tells the gain and the new balance. A trade opens after it, for
        # the id of the trade is that of the fill.
        reductions, left = self._reduce(spec, units, at)
        gain = sum((Decimal(part["realizedPL"]) for _, part in reductions), Decimal(0))
        earned = sum(((at - trade.price) * -Decimal(part["units"]) for trade, part in reductions), Decimal(0))
        premium = listing.guaranteed_premium * abs(units) if spec.type == "GUARANTEED_STOP_LOSS" else Decimal(0)
        fee = money(-self.book.result_at_home(spec.instrument, -premium))
        commission = money(self.book.commission_per_million * self.book.notional(spec.instrument, units) / MILLION)
        self.book.charge(commission, fee)
        texts = {"units": str(units), "requestedUnits": str(order.left), "price": str(at), "fullVWAP": str(average)}
        texts |= money_texts(pl=gain, commission=commission, guaranteedExecutionFee=fee)
        texts |= {"quotePL": str(earned), "quoteGuaranteedExecutionFee": str(premium)}
        texts |= {"financing": ZERO, "baseFinancing": "0", "accountBalance": str(self.book.balance)}
        texts |= {"halfSpreadCost": str(self._half_spread(price, units))}
        texts |= {f"{name}ConversionFactor": factors[name]["factor"] for name in ("gainQuoteHome", "lossQuoteHome")}
        found = {"instrument": spec.instrument, "reason": reason, "fullPrice": _full_price(price), **texts}
        found["homeConversionFactors"] = factors
        filled = self.write("ORDER_FILL", batch, orderID=order.id, clientOrderID=spec.client.get("id"), **found)
        order.filled, order.met = order.filled + units, price
        if not rests:
            self.book.end_order(order, "FILLED")
            order.outcome |= {"fillingTransactionID": filled["id"], "filledTime": filled["time"]}
        self._settle(order, filled, reductions)
        if left:
            self._open(order, filled, left, at)
        return filled

    def _half_spread(self, price: Price, units: Decimal) -> Decimal:
        return money((price.ask - price.bid) / 2 * abs(units) * self.book.home_factor(price.instrument))

    def _factors(self, listing: Listing) -> dict[str, dict[str, str]]:
        """`HomeConversionFactors` of a fill; an index or a commodity is no currency that could be converted."""
        currencies = {"Quote": listing.quote_currency, "Base": listing.base_currency}
        return {
            f"{side}{part}Home": {"factor": factor}
            for part, currency in currencies.items()
            if currency is not None
            for side, factor in conversion(currency, self.book.prices).items()
        }

    def _reduce(self, spec: OrderSpec, units: Decimal, at: Decimal) -> tuple[list[Reduction], Decimal]:
        reductions: list[Reduction] = []
        left, price = units, self.book.prices[spec.instrument]
        # The oldest trade first: an account without hedging is netted so.
        against = [trade for trade in self.book.open_trades(spec.instrument) if trade.units * units < 0]
        for trade in against if spec.trade_id is None else [self.book.trades[spec.trade_id]]:
            if not left:
                break
            taken = min(abs(left), abs(trade.units)).copy_sign(left)
            # Rounded at once: the balance must be the sum of the log's amounts, to the last place.
            gain = money(self.book.result_at_home(trade.instrument, (at - trade.price) * -taken))
            side = 1 if trade.units > 0 else -1
            trade.units += taken
            trade.closed_value += at * abs(taken)
            self.book.realize(trade, side, gain)
            left -= taken
            part = {"tradeID": trade.id, "units": str(taken), "price": str(at), "realizedPL": str(gain)}
            part |= {"financing": ZERO, "baseFinancing": "0", "guaranteedExecutionFee": ZERO}
            part |= {"quoteGuaranteedExecutionFee": "0", "halfSpreadCost": str(self._half_spread(price, taken))}
            if "id" in trade.client:
                part["clientTradeID"] = trade.client["id"]
            reductions.append((trade, part))
        return reductions, left

    def _settle(self, order: RestingOrder, filled: TransactionPayload, reductions: list[Reduction]) -> None:
        """Enter the reductions into the fill, the order and the trades; end the orders of closed trades."""
        for trade, part in reductions:
            trade.closing_ids.append(filled["id"])
            if trade.units:
                filled["tradeReduced"] = part
                order.outcome["tradeReducedID"] = trade.id
            else:
                filled.setdefault("tradesClosed", []).append(part)
                order.outcome.setdefault("tradeClosedIDs", []).append(trade.id)
                self.book.end_trade(trade, self.now_ns)
        # In a second pass: cancels are transactions of their own, behind a fill that is complete.
        for trade, _ in reductions:
            for linked in self.book.pending_for(trade.id) if not trade.units else ():
                self.cancel(linked, "LINKED_TRADE_CLOSED", filled["batchID"])

    def _open(self, order: RestingOrder, filled: TransactionPayload, units: Decimal, at: Decimal) -> None:
        spec, now_ns = order.spec, self.now_ns
        trade = SimulatedTrade(
            id=filled["id"], instrument=spec.instrument, initial_units=units, units=units, price=at, open_time_ns=now_ns
        )
        trade.initial_margin = money(self.book.margin(spec.instrument, units))
        trade.client = dict(spec.trade_client)
        self.book.add_trade(trade)
        order.outcome["tradeOpenedID"] = trade.id
        part = {"tradeID": trade.id, "units": str(units), "price": str(at), "guaranteedExecutionFee": ZERO}
        part |= {"quoteGuaranteedExecutionFee": "0", "initialMarginRequired": str(trade.initial_margin)}
        part |= {"halfSpreadCost": str(self._half_spread(self.book.prices[spec.instrument], units))}
        filled["tradeOpened"] = part | ({"clientExtensions": dict(trade.client)} if trade.client else {})
        for key, kind in ON_FILL.items():
            if key in spec.on_fill:
                self._attach(trade, kind, spec.on_fill[key], filled)

    def _attach(self, trade: SimulatedTrade, kind: str, raw: Mapping[str, Any], filled: TransactionPayload) -> None:
        spec = OrderSpec(type=kind, instrument=trade.instrument, trade_id=trade.id)
        spec.time_in_force = str(raw.get("timeInForce", "GTC"))
        spec.gtd_time = raw.get("gtdTime")
        spec.client = {key: str(value) for key, value in (raw.get("clientExtensions") or {}).items()}
        spec.distance = Decimal(str(raw["distance"])) if "distance" in raw else None
        if kind != "TRAILING_STOP_LOSS":
            # From the price of the trade, not of the order: a limit may have filled better.
            spec.price = protection_price(kind, raw, trade.units, trade.price, trade.instrument)
        self.rest(spec, filled["batchID"], reason="ON_FILL", orderFillTransactionID=filled["id"])

    def rest(self, spec: OrderSpec, batch: str | None = None, **extra: Any) -> tuple[RestingOrder, TransactionPayload]:
        """Write the create transaction of an order that waits from now on."""
        if spec.type != "TRAILING_STOP_LOSS" and spec.price is None and spec.distance is not None:
            # A distance counts from the price that would close the trade now, and is fixed from here on.
            trade = self.book.trades[str(spec.trade_id)]
            at = self.book.prices[trade.instrument].side(-trade.units)
            spec.price = protection_price(spec.type, {"distance": spec.distance}, trade.units, at, trade.instrument)
        created = self.write(f"{spec.type}_ORDER", batch, **spec.payload(), **extra)
        order = RestingOrder(id=created["id"], spec=spec, create_time_ns=self.now_ns)
        order.outcome = {key: extra[key] for key in ("replacesOrderID",) if key in extra}
        if spec.type == "TRAILING_STOP_LOSS":
            order.trailing_value = self.trailing_value(order)
        if spec.type == "MARKET_IF_TOUCHED":
            order.touched_from = LISTINGS[spec.instrument].round(self.book.prices[spec.instrument].mid)
        self.book.add_order(order)
        return order, created

    def trailing_value(self, order: RestingOrder) -> Decimal | None:
        """Level of a trailing stop now: it follows the price that triggers it, one way only."""
        trade, distance = self.book.trades.get(order.spec.trade_id or ""), order.spec.distance
        if trade is None or distance is None:
            return order.trailing_value
        before = order.trailing_value
        at = trigger_price(order.spec.trigger_condition, self.book.prices[trade.instrument], -trade.units)
        value = LISTINGS[trade.instrument].round(at - distance.copy_sign(trade.units))
        if before is None:
            return value
        return max(value, before) if trade.units > 0 else min(value, before)


def trigger_price(condition: str, price: Price, units: Decimal) -> Decimal:
    """Price that the level of an order of signed `units` is compared with (v20, `OrderTriggerCondition`)."""
    match condition:
        case "INVERSE":
            return price.side(-units)
        case "BID":
            return price.bid
        case "ASK":
            return price.ask
        case "MID":
            return price.mid
    return price.side(units)


def _fill_price(spec: OrderSpec, at: Decimal, units: Decimal) -> Decimal:
    """Price of a fill: a limit's is never worse than its level, a guaranteed stop's is exactly its level."""
    if spec.type == "GUARANTEED_STOP_LOSS" and spec.price is not None:
        return spec.price
    if spec.type in ("LIMIT", "TAKE_PROFIT") and spec.price is not None:
        return min(at, spec.price) if units > 0 else max(at, spec.price)
    return at


def protection_price(kind: str, raw: Mapping[str, Any], units: Decimal, at: Decimal, instrument: str) -> Decimal:
    """Price of a take-profit or stop-loss for a trade of `units` that opens `at`."""
    if raw.get("distance") is None:
        return Decimal(str(raw["price"]))
    away = Decimal(str(raw["distance"])).copy_sign(units)
    return LISTINGS[instrument].round(at + away if kind == "TAKE_PROFIT" else at - away)


@functools.lru_cache(maxsize=256)
def _full_price(price: Price) -> dict[str, Any]:
    # `liquidity` is a text here and a number in pricing, as the venue sends it.
    return {
        "closeoutBid": str(price.bid),
        "closeoutAsk": str(price.ask),
        "time": rfc3339(price.time_ns),
        "bids": [{"price": str(at), "liquidity": str(size)} for at, size in price.levels(SELL)],
        "asks": [{"price": str(at), "liquidity": str(size)} for at, size in price.levels(BUY)],
    }
