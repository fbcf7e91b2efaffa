"""Rules of the simulated venue: taking, replacing, triggering and expiring orders; margin close-out and financing."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from broker.simulator.account.book import (
    CLOSEOUT_SHARE,
    AccountBook,
    RestingOrder,
    SimulatedTrade,
    TransactionPayload,
    money,
)
from broker.simulator.account.fills import Fills, protection_price, trigger_price
from broker.simulator.clock import parse_ns
from broker.simulator.market.hours import trading_day
from broker.simulator.market.market import Price
from broker.simulator.v20.order_requests import DEPENDENT_TYPES, ON_FILL, OrderSpec, RejectError

FINANCING_RATE = Decimal("0.02")
"""Share of a position's value that its holder pays a year: simple, and the same for both sides."""
_DAYS = 365
Made = dict[str, TransactionPayload]
"""Transactions by their names in the answer."""


class Matching:
    """The rules, applied to one account at one moment: one object for a request or a step of the market."""

    def __init__(self, book: AccountBook, now_ns: int, request_id: str | None = None) -> None:
        self.book = book
        self.prices = book.prices
        self.now_ns = now_ns
        self.fills = Fills(book, now_ns, request_id)
        self._entries_before = len(book.log)

    def acted(self, transactions: Made) -> dict[str, Any]:
        """Body after an action: its transactions, all ids written since this object was made, the last id."""
        related = [entry["id"] for entry in self.book.log[self._entries_before :]]
        return {**transactions, "relatedTransactionIDs": related, "lastTransactionID": self.book.last_id}

    def create(self, spec: OrderSpec, *, reason: str = "CLIENT_ORDER", batch: str | None = None, **extra: Any) -> Made:
        """Take an order and do at once what its type wants, in a batch of its own unless `batch` names one.

        Raises RejectError: the venue refuses it; the caller writes the reject.
        """
        self.check(spec)
        order, created = self.fills.rest(spec, batch, reason=reason, **extra)
        return {"orderCreateTransaction": created, **self._act(order, created["batchID"])}

    def replace(self, old: RestingOrder, spec: OrderSpec, batch: str | None = None) -> Made:
        """Cancel `old` and take `spec` in its place, in one batch.

        Raises RejectError: the new one is refused; the old one waits on.
        """
        # The new order may take over the client id of the old one.
        self.check(spec, replaced=old)
        new_id = str(len(self.book.log) + 2)  # the cancel names its successor, whose transaction comes next
        cancelled = self.fills.cancel(old, "CLIENT_REQUEST_REPLACED", batch, replacedByOrderID=new_id)
        replaced = {"replacesOrderID": old.id, "cancellingTransactionID": cancelled["id"]}
        made = self.create(spec, reason="REPLACEMENT", batch=cancelled["batchID"], **replaced)
        if "orderCancelTransaction" in made:
            made["replacingOrderCancelTransaction"] = made.pop("orderCancelTransaction")
        return {"orderCancelTransaction": cancelled, **made}

    def reduce(self, spec: OrderSpec, reason: str, **extra: Any) -> Made:
        """Reduce a trade, or else the position, by the spec's units (signed against it), with a market order."""
        spec.time_in_force, spec.position_fill = "FOK", "REDUCE_ONLY"
        order, created = self.fills.rest(spec, reason=reason, **extra)
        return {"orderCreateTransaction": created, **self._trade(order, created["batchID"], f"MARKET_ORDER_{reason}")}

    def reduce_trade(self, trade: SimulatedTrade, units: Decimal, reason: str, **extra: Any) -> Made:
        """Reduce one trade by `units` (positive)."""
        against = -units.copy_sign(trade.units)
        spec = OrderSpec(type="MARKET", instrument=trade.instrument, trade_id=trade.id, units=against)
        return self.reduce(spec, reason, **extra)

    def check(self, spec: OrderSpec, replaced: RestingOrder | None = None) -> None:
        """Check an order before it is taken, in the place of `replaced` if given.

        Raises RejectError: it is not taken.
        """
        client_id = spec.client.get("id")
        holder = self.book.pending_by_client_id(client_id) if client_id else None
        if holder is not None and holder is not replaced:
            raise RejectError("CLIENT_ORDER_ID_ALREADY_EXISTS")
        if spec.gtd_time is not None and parse_ns(spec.gtd_time) <= self.now_ns:
            raise RejectError("TIME_IN_FORCE_GTD_TIMESTAMP_IN_PAST")
        if spec.type in DEPENDENT_TYPES:
            others = (item for item in self.book.pending_for(str(spec.trade_id)) if item is not replaced)
            if any(item.spec.type == spec.type for item in others):
                raise RejectError(f"{spec.type}_ORDER_ALREADY_EXISTS")

    def _act(self, order: RestingOrder, batch: str) -> Made:
        spec, price = order.spec, self.prices[order.spec.instrument]
        if spec.type in DEPENDENT_TYPES:
            return {}
        # In a halted market a market order is cancelled for that reason; an order that may rest waits.
        if spec.type == "MARKET" or (price.tradeable and _is_triggered(order, price)):
            return self._trade(order, batch, f"{spec.type}_ORDER")
        if spec.is_immediate:
            return {"orderCancelTransaction": self.fills.cancel(order, "TIME_IN_FORCE_EXPIRED", batch)}
        return {}

    def _trade(self, order: RestingOrder, batch: str | None, reason: str) -> Made:
        spec, price = order.spec, self.prices[order.spec.instrument]
        wanted = self._wanted(order)
        units = wanted
        if spec.is_immediate or spec.type == "LIMIT":
            # A stop that has triggered takes whatever it needs, simple on purpose.
            units = min(abs(wanted), Decimal(price.depth(wanted, _worst(spec)))).copy_sign(wanted)
        rests = spec.type == "LIMIT" and not spec.is_immediate and units != wanted
        if rests and not units:
            return {}  # triggered by another price than the one that it trades at
        refusal = self._refusal(spec, units)
        if refusal is not None:
            # Not a reject: the order was accepted, and the answer is a 201 that cancels it.
            return {"orderCancelTransaction": self.fills.cancel(order, refusal, batch)}
        return {"orderFillTransaction": self.fills.fill(order, units, batch, reason, rests=rests)}

    def _wanted(self, order: RestingOrder) -> Decimal:
        units, held = order.left, self.book.position(order.instrument)
        if order.spec.position_fill != "REDUCE_ONLY":
            return units
        return min(abs(units), abs(held)).copy_sign(units) if held * units < 0 else Decimal(0)

    def _refusal(self, spec: OrderSpec, units: Decimal) -> str | None:
        price = self.prices[spec.instrument]
        if not price.tradeable:
            return "MARKET_HALTED"
        at, bound = price.side(spec.units), spec.price_bound
        if bound is not None and (at > bound if spec.units > 0 else at < bound):
            return "BOUNDS_VIOLATION"
        if not units or (spec.time_in_force == "FOK" and abs(units) < abs(spec.units)):
            reached = bound is not None and price.depth(spec.units) >= abs(spec.units)
            return "BOUNDS_VIOLATION" if units and reached else "INSUFFICIENT_LIQUIDITY"
        if spec.position_fill == "OPEN_ONLY" and self.book.position(spec.instrument) * units < 0:
            return "FIFO_VIOLATION"
        return self._losing_protection(spec, at) or self._margin_refusal(spec.instrument, units)

    def _losing_protection(self, spec: OrderSpec, at: Decimal) -> str | None:
        for key, kind in ON_FILL.items():
            if key not in spec.on_fill or kind == "TRAILING_STOP_LOSS":
                continue
            level = protection_price(kind, spec.on_fill[key], spec.units, at, spec.instrument)
            gains = level > at if spec.units > 0 else level < at
            if gains != (kind == "TAKE_PROFIT"):
                return f"{kind}_ON_FILL_LOSS"
        return None

    def _margin_refusal(self, instrument: str, units: Decimal) -> str | None:
        before = self.book.position(instrument)
        after = before + units
        # A reduction frees margin, even where there is too little.
        if abs(after) <= abs(before):
            return None
        more = self.book.margin(instrument, after) - self.book.margin(instrument, before)
        if self.book.margin_used() + more > self.book.equity():
            return "INSUFFICIENT_MARGIN"
        return None

    def tick(self) -> None:
        """Expire, trail and trigger waiting orders after prices or time moved; then check the margin."""
        for order in self.book.pending():
            if order.state != "PENDING":
                continue  # ended by an earlier one of this round
            if self._is_expired(order):
                self.fills.cancel(order, "TIME_IN_FORCE_EXPIRED")
                continue
            price = self.prices[order.spec.instrument]
            if price.tradeable:
                self._trigger(order, price)
        self._close_out()

    def _is_expired(self, order: RestingOrder) -> bool:
        if order.spec.time_in_force == "GFD":
            return trading_day(order.create_time_ns) < trading_day(self.now_ns)
        return order.spec.gtd_time is not None and parse_ns(order.spec.gtd_time) <= self.now_ns

    def _trigger(self, order: RestingOrder, price: Price) -> None:
        if order.spec.type == "TRAILING_STOP_LOSS":
            order.trailing_value = self.fills.trailing_value(order)
        trade = self.book.trades[order.spec.trade_id] if order.spec.trade_id is not None else None
        if not _is_triggered(order, price, trade):
            return
        if trade is None:
            if order.met is not price:
                self._trade(order, None, f"{order.spec.type}_ORDER")
            return
        # Of the trade's size now, which may have shrunk. Nothing is checked: closing needs no margin.
        order.spec.units = -trade.units
        self.fills.fill(order, order.spec.units, None, f"{order.spec.type}_ORDER")

    def _close_out(self) -> None:
        used = self.book.margin_used()
        # Last of a step: a stop-loss that was triggered just now may have freed the margin.
        if not used or self.book.equity() > used * CLOSEOUT_SHARE:
            return
        for trade in self.book.open_trades():
            if self.prices[trade.instrument].tradeable:
                cause = {"reason": "MARGIN_CHECK_VIOLATION"}
                self.reduce_trade(trade, abs(trade.units), "MARGIN_CLOSEOUT", marginCloseout=cause)

    def finance(self) -> None:
        """Charge a day's financing: the account's amount is the sum of the trades' amounts, to the last place."""
        positions, total = [], Decimal(0)
        for name in self.book.instruments():
            # Rounded a trade and then summed: the account's amount must be the sum of what its trades show.
            charged = {trade.id: self._financing(trade) for trade in self.book.open_trades(name)}
            amount = sum(charged.values(), Decimal(0))
            parts = [{"tradeID": key, "financing": str(value)} for key, value in charged.items()]
            positions.append({"instrument": name, "financing": str(amount), "openTradeFinancings": parts})
            total += amount
        if not positions:
            return
        self.book.balance += total
        self.book.financing += total
        amounts = {"financing": str(total), "accountBalance": str(self.book.balance)}
        self.fills.write("DAILY_FINANCING", **amounts, accountFinancingMode="DAILY", positionFinancings=positions)

    def _financing(self, trade: SimulatedTrade) -> Decimal:
        amount = -money(self.book.notional(trade.instrument, trade.units) * FINANCING_RATE / _DAYS)
        trade.financing += amount
        return amount


def _is_triggered(order: RestingOrder, price: Price, trade: SimulatedTrade | None = None) -> bool:
    """True if a resting order trades at this price."""
    spec = order.spec
    level = spec.price if order.trailing_value is None else order.trailing_value
    if level is None:
        return False
    units = -trade.units if trade is not None else spec.units
    at = trigger_price(spec.trigger_condition, price, units)
    if order.touched_from is not None:
        # A market-if-touched order has no direction of its own: its level is reached from where the price stood.
        return at <= level if level <= order.touched_from else at >= level
    if spec.type not in ("LIMIT", "TAKE_PROFIT"):
        return at >= level if units > 0 else at <= level
    # Whatever price triggers it, it trades at its level or better only (v20, `LimitOrder`, `TakeProfitOrder`).
    worst = max(at, price.ask) if units > 0 else min(at, price.bid)
    return worst <= level if units > 0 else worst >= level


def _worst(spec: OrderSpec) -> Decimal | None:
    """Worst price that an order may trade at."""
    return spec.price if spec.type == "LIMIT" else spec.price_bound
