"""Every writing request of the order path, for sweeps: its subject at the venue, the request, and the venue's truth."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from broker.domain import Order, OrderRequest, OrderStatus, OrderType, Protection, Side
from broker.orders.errors import NotReadyError, UnknownPositionError
from broker.orders.model.lifecycle import TABLE, OrderRecord
from broker.orders.service import OrderService
from broker.orders.trades import TradeChange

ACCOUNT = "101-004-1234567-001"
CLIENT = "sweep"
PRICES = {OrderType.LIMIT: "1.05000", OrderType.STOP: "1.15000", OrderType.MARKET_IF_TOUCHED: "1.05000"}
OF_TRADE = {OrderType.TAKE_PROFIT: "1.20000", OrderType.STOP_LOSS: "1.00000", OrderType.TRAILING_STOP_LOSS: None}
ATTACHED = "attached"
REPLACE, CANCEL, CLOSE_POSITION, CLOSE_TRADE = "replace", "cancel", "close_position", "close_trade"
CHANGE_TRADE = "change_trade"
CHANGES = (REPLACE, CANCEL, CLOSE_POSITION, CLOSE_TRADE, CHANGE_TRADE)
WRITES = ("market", ATTACHED, *map(str, PRICES), *map(str, OF_TRADE), *CHANGES)
KILL = "kill"
"""The kill switch, which halts trading and so is no write beside others."""
NEEDS_TRADE = {*map(str, OF_TRADE), CLOSE_TRADE, CHANGE_TRADE}
NEEDS_ORDER = {REPLACE, CANCEL}


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """One writing request of a sweep; its number makes its units its own."""

    kind: str
    number: int
    subject: str = ""
    """Our id of the order that is replaced or cancelled, or the trade's id."""
    path: str = ""
    """Part of the request's path at the venue."""

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.number}"

    @property
    def method(self) -> str:
        return "POST" if self.path == "/orders" else "PUT"

    def order(self, kind: OrderType, *, units: int = 100, **fields: Any) -> OrderRequest:
        plain: dict[str, Any] = {"client_order_id": self.name, "client": CLIENT, "account": ACCOUNT}
        plain |= {"instrument": "EUR_USD", "type": kind, "side": Side.BUY, "units": Decimal(units + self.number)}
        return OrderRequest(**(plain | fields))

    def base(self) -> OrderRequest | None:
        """Order that must be at the venue before: a trade of its own, a resting order, or nothing."""
        if self.kind in NEEDS_TRADE:
            return self.order(OrderType.MARKET, units=1000, client_order_id=f"{self.name}-base")
        if self.kind in NEEDS_ORDER:
            price = Decimal("1.04000")
            return self.order(OrderType.LIMIT, units=1000, price=price, client_order_id=f"{self.name}-base")
        return None

    async def send(self, service: OrderService) -> Order:  # noqa: PLR0911 - one return a kind
        match self.kind:
            case "replace":
                request = self.order(OrderType.LIMIT, price=Decimal("1.06000"))
                return (await service.replace(self.subject, request)).order
            case "cancel":
                return await service.cancel(self.subject)
            case "close_position":
                units = Decimal(100 + self.number)
                closing = service.close_position("EUR_USD", None, units, client=CLIENT, client_order_id=self.name)
                return (await closing).order
            case "close_trade":
                units = Decimal(100 + self.number)
                closing = service.close_trade(self.subject, units, client=CLIENT, client_order_id=self.name)
                return (await closing).order
            case "change_trade":
                return await self._change_trade(service)
            case "attached":
                protections = {"stop_loss": "1.00000", "take_profit": "1.20000"}
                attached: dict[str, Any] = {key: Protection(price=Decimal(price)) for key, price in protections.items()}
                return (await service.place(self.order(OrderType.MARKET, **attached))).order
        return (await service.place(self._plain())).order

    async def _change_trade(self, service: OrderService) -> Order:
        legs = {"stop_loss": Protection(price=Decimal("1.00000"))}
        change = TradeChange(trade_id=self.subject, legs=legs, client=CLIENT, key=self.name)
        (found,) = (await service.trades.change_orders(change)).outcomes
        if found.order is not None:
            return found.order
        kind = UnknownPositionError if found.outcome == "refused" else NotReadyError
        raise kind(found.message or found.outcome)

    def _plain(self) -> OrderRequest:
        kind = OrderType(self.kind)
        if kind in PRICES:
            return self.order(kind, price=Decimal(PRICES[kind]))
        if kind not in OF_TRADE:
            return self.order(kind)
        price = OF_TRADE[kind]
        how: dict[str, Any] = {"price": Decimal(price)} if price is not None else {"distance": Decimal("0.01000")}
        return self.order(kind, units=1000, side=Side.SELL, trade_id=self.subject, **how)


async def prepared(service: OrderService, kind: str, number: int) -> Write:
    """The write, with what it needs at the venue; a market order where that could not be made."""
    write = Write(kind=kind, number=number, path="/orders")
    base = write.base()
    if base is None:
        return replace(write, path="/positions/EUR_USD/close") if kind == CLOSE_POSITION else write
    # The same base whenever it is asked for again, also by another process.
    while (held := (await service.place(base)).order).status is OrderStatus.UNKNOWN:
        await asyncio.sleep(0.05)
    if kind in NEEDS_TRADE and held.fills:
        trade = held.fills[0].trade_ids[0]
        paths = {CLOSE_TRADE: f"/trades/{trade}/close", CHANGE_TRADE: f"/trades/{trade}/orders"}
        return replace(write, subject=trade, path=paths.get(kind, "/orders"))
    if kind in NEEDS_ORDER and held.venue_order_id is not None:
        path = f"/orders/{held.venue_order_id}" + ("/cancel" if kind == CANCEL else "")
        return replace(write, subject=held.id, path=path)
    return replace(write, kind="market")


@dataclass(slots=True)
class VenueFate:
    """Fate of one order in the venue's log."""

    id: str
    asked: Decimal
    fills: dict[str, Decimal] = field(default_factory=dict)
    ended: bool = False

    @property
    def status(self) -> OrderStatus:
        traded = sum(map(abs, self.fills.values()), Decimal(0))
        if traded and (traded >= self.asked or not self.asked):
            return OrderStatus.FILLED
        if self.ended:
            return OrderStatus.PARTIALLY_FILLED if traded else OrderStatus.CANCELLED
        return OrderStatus.PENDING


class VenueTruth:
    """The fates of all orders in the venue's log, read without any code of the broker's."""

    def __init__(self, log: Iterable[Mapping[str, Any]]) -> None:
        self.orders: dict[str, VenueFate] = {}
        self.by_client: defaultdict[str, list[str]] = defaultdict(list)
        self.closes: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        """Market orders without a client id, by the trade and the units that they close."""
        self.refused: set[str] = set()
        self.positions: defaultdict[str, Decimal] = defaultdict(Decimal)
        for item in log:
            self._take(item)

    def _take(self, item: Mapping[str, Any]) -> None:
        kind, client = str(item["type"]), (item.get("clientExtensions") or {}).get("id")
        close = item.get("tradeClose") or {}
        if kind.endswith("_ORDER"):
            self.orders[item["id"]] = VenueFate(item["id"], abs(Decimal(item.get("units", "0"))))
            if client:
                self.by_client[client].append(item["id"])
            elif close:
                self.closes[(close["tradeID"], close["units"])].append(item["id"])
        elif kind.endswith("_ORDER_REJECT"):
            self.refused.add(client or f"{close.get('tradeID')} {close.get('units')}")
        elif kind == "ORDER_FILL":
            self.orders[item["orderID"]].fills[item["id"]] = Decimal(item["units"])
            self.positions[item["instrument"]] += Decimal(item["units"])
        elif kind == "ORDER_CANCEL":
            self.orders[item["orderID"]].ended = True

    def of(self, record: OrderRecord) -> list[str]:
        """The venue's orders that are this one: none, or one."""
        found = self.by_client[record.client_id]
        if record.action == CLOSE_TRADE:
            found = found + self.closes[(record.target or "", str(record.close_units))]
        # Of an adopted order only the venue's own id is left.
        known = record.order.venue_order_id
        return found or ([known] if record.action == "adopted" and known is not None else [])

    def differences(self, records: Iterable[OrderRecord]) -> list[str]:
        """Everything that the records say otherwise than the log."""
        found, claimed = [], []
        for record in records:
            order, at_venue = record.order, self.of(record)
            name = f"{order.request.client_order_id} ({order.status}, {order.reason})"
            claimed += at_venue
            if len(at_venue) > 1:
                found.append(f"{name} was placed {len(at_venue)} times: {at_venue}")
            elif not at_venue:
                if order.fills or order.status not in NOT_MADE:
                    found.append(f"{name} is not in the log")
            else:
                fate = self.orders[at_venue[0]]
                fills = {fill.transaction_id: fill.units for fill in order.fills}
                wanted = {key: abs(units) for key, units in fate.fills.items()}
                if (order.status, fills, order.venue_order_id) != (fate.status, wanted, fate.id):
                    found.append(f"{name} of {order.venue_order_id} with {fills}, the log: {fate}")
        twice = sorted({name for name in claimed if claimed.count(name) > 1})
        missing = sorted(set(self.orders) - set(claimed), key=int)
        return [*found, *(f"{name} is two orders" for name in twice), *(f"{name} is no order" for name in missing)]


def told_otherwise(told: Iterable[Mapping[str, Any]], records: Iterable[OrderRecord]) -> list[str]:
    """Answers that callers got and that the books, at the end, do not go on from."""
    books = {record.id: record.status for record in records}
    found = []
    for answer in told:
        if (name := answer.get("order")) is None:
            continue
        status, reached = OrderStatus(answer["status"]), {OrderStatus(answer["status"])}
        # By the one table of moves: what was told is on the way to the end.
        while more := {after for (before, _), after in TABLE.items() if before in reached} - reached:
            reached |= more
        if books.get(name) not in reached:
            found.append(f"{name} was told as {status} and is {books.get(name)}")
    return found


NOT_MADE = {OrderStatus.DENIED, OrderStatus.REJECTED, OrderStatus.PRESUMED_ABSENT}
