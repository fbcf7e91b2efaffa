"""One account at the simulated venue: balance, orders, trades, positions and the log of transactions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from broker.simulator.clock import rfc3339
from broker.simulator.instruments import LISTINGS
from broker.simulator.market import Price, home_factor
from broker.simulator.requests import OrderSpec

CENT = Decimal("0.0001")
"""Money is kept to four places, as the venue shows it."""
CLOSEOUT_SHARE = Decimal("0.5")
"""The venue closes positions when equity falls to half of the margin."""
Transaction = dict[str, Any]


def money(value: Decimal) -> Decimal:
    """Rounded as the venue rounds."""
    return value.quantize(CENT)


@dataclass(slots=True, kw_only=True)
class Trade:
    """An open trade; `units` is signed and shrinks as it is reduced."""

    id: str
    instrument: str
    initial_units: Decimal
    units: Decimal
    price: Decimal
    open_time_ns: int
    realized: Decimal = Decimal(0)
    financing: Decimal = Decimal(0)
    state: str = "OPEN"
    close_time_ns: int | None = None
    close_price: Decimal | None = None
    client: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class RestingOrder:
    """An order that waits; its id is its create transaction's."""

    id: str
    spec: OrderSpec
    create_time_ns: int
    state: str = "PENDING"
    trailing_value: Decimal | None = None
    filled_by: str | None = None
    cancelled_by: str | None = None


class AccountBook:
    """The state of an account. It decides nothing: `matching` does, and writes here."""

    def __init__(self, account_id: str, balance: Decimal = Decimal(100_000)) -> None:
        self.id = account_id
        self.user_id = int(account_id.split("-")[2])
        self.balance = balance
        self.opening_balance = balance
        self.orders: dict[str, RestingOrder] = {}
        """All that ever were; `waiting` has those that wait, and `live` the trades that are open."""
        self.waiting: dict[str, RestingOrder] = {}
        self.trades: dict[str, Trade] = {}
        self.live: dict[str, Trade] = {}
        self.realized: dict[str, Decimal] = {}
        """By instrument, for every one that ever traded."""
        self.log: list[Transaction] = []

    @property
    def last_id(self) -> str:
        """Id of the last transaction; 0 before the first."""
        return str(len(self.log))

    def append(
        self, kind: str, now_ns: int, request_id: str, batch_id: str | None = None, **fields: Any
    ) -> Transaction:
        """Writes a transaction; ids count from 1 without a gap."""
        number = str(len(self.log) + 1)
        entry: Transaction = {
            "id": number,
            "accountID": self.id,
            "userID": self.user_id,
            "batchID": batch_id or number,
            "requestID": request_id,
            "time": rfc3339(now_ns),
            "type": kind,
            **{key: value for key, value in fields.items() if value is not None},
        }
        self.log.append(entry)
        return entry

    def pending(self) -> list[RestingOrder]:
        """Orders that wait, oldest first."""
        return list(self.waiting.values())

    def rest(self, order: RestingOrder) -> None:
        """Keeps an order that waits."""
        self.orders[order.id] = self.waiting[order.id] = order

    def end(self, order: RestingOrder, state: str) -> None:
        """An order waits no longer."""
        order.state = state
        self.waiting.pop(order.id, None)

    def open(self, trade: Trade) -> None:
        """Keeps a trade that was opened."""
        self.trades[trade.id] = self.live[trade.id] = trade

    def close(self, trade: Trade, now_ns: int, price: Decimal) -> None:
        """A trade has no units left."""
        trade.state, trade.close_time_ns, trade.close_price = "CLOSED", now_ns, price
        del self.live[trade.id]

    def open_trades(self, instrument: str | None = None) -> list[Trade]:
        """Trades that are open, oldest first."""
        return [trade for trade in self.live.values() if instrument in (None, trade.instrument)]

    def position(self, instrument: str) -> Decimal:
        """Net units."""
        return sum((trade.units for trade in self.open_trades(instrument)), Decimal(0))

    def unrealized(self, prices: Mapping[str, Price], trades: Iterable[Trade] | None = None) -> Decimal:
        """What closing the trades (all open ones) at these prices would bring."""
        chosen = self.open_trades() if trades is None else trades
        return money(sum((profit(trade, prices) for trade in chosen), Decimal(0)))

    def margin_used(self, prices: Mapping[str, Price]) -> Decimal:
        """Margin that the net positions take, in the account's currency."""
        instruments = {trade.instrument for trade in self.open_trades()}
        return money(sum((margin(name, self.position(name), prices) for name in instruments), Decimal(0)))

    def equity(self, prices: Mapping[str, Price]) -> Decimal:
        """Balance and unrealised profit: the venue's NAV."""
        return self.balance + self.unrealized(prices)


def profit(trade: Trade, prices: Mapping[str, Price]) -> Decimal:
    """Unrealised profit of a trade at the price that would close it, in the account's currency."""
    exit_price = prices[trade.instrument].side(-trade.units)
    return (exit_price - trade.price) * trade.units * home_factor(trade.instrument, prices)


def margin(instrument: str, units: Decimal, prices: Mapping[str, Price]) -> Decimal:
    """Margin for net units of an instrument."""
    notional = abs(units) * prices[instrument].mid * home_factor(instrument, prices)
    return notional * LISTINGS[instrument].margin_rate
