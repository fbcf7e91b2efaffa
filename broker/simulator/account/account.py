"""One account at the simulated venue: balance, orders, trades, positions and the log of transactions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from broker.simulator.clock import rfc3339
from broker.simulator.market.instruments import LISTINGS
from broker.simulator.market.market import HOME, Price, home_factor
from broker.simulator.v20.requests import OrderSpec

CENT = Decimal("0.0001")
"""Money is kept to four places, as the venue shows it."""
CLOSEOUT_SHARE = Decimal("0.5")
"""The venue closes positions when equity falls to half of the margin."""
MARGIN_RATE = Decimal("0.0333")
"""Of an account that its client has not configured."""
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
    closing_ids: list[str] = field(default_factory=list)
    closed_value: Decimal = Decimal(0)
    """Units times price of what has been closed."""
    initial_margin: Decimal = Decimal(0)
    client: dict[str, str] = field(default_factory=dict)

    @property
    def average_close_price(self) -> Decimal:
        """Over the units that have been closed."""
        return LISTINGS[self.instrument].round(self.closed_value / abs(self.initial_units - self.units))


@dataclass(slots=True, kw_only=True)
class RestingOrder:
    """An order that waits; its id is its create transaction's."""

    id: str
    spec: OrderSpec
    create_time_ns: int
    state: str = "PENDING"
    trailing_value: Decimal | None = None
    touched_from: Decimal | None = None
    """Of a market-if-touched order: the price at its creation, which says from where its level is reached."""
    outcome: dict[str, Any] = field(default_factory=dict)
    """What its end adds to the venue's object: ids of transactions and trades, times."""


class AccountBook:
    """The state of an account. It decides nothing: `matching` does, and writes here.

    What waits and what is open is kept apart from what has ended, so that a long log does not slow an order.
    """

    def __init__(self, account_id: str, balance: Decimal = Decimal(100_000), now_ns: int = 0) -> None:
        self.id = account_id
        self.user_id = int(account_id.split("-")[2])
        self.created_ns = now_ns
        self.alias = "Simulated"
        self.margin_rate = MARGIN_RATE
        """Least share of a position's value that its margin is; an instrument's own may be more."""
        self.balance = money(balance)
        self.financing = Decimal(0)
        self.orders: dict[str, RestingOrder] = {}
        self.trades: dict[str, Trade] = {}
        self.realized: dict[tuple[str, int], Decimal] = {}
        """By instrument and side (+1 long, -1 short), for every instrument that ever traded."""
        self.log: list[Transaction] = []
        self.times_ns: list[int] = []
        """Of each transaction."""
        self._waiting: dict[str, RestingOrder] = {}
        self._client_ids: dict[str, RestingOrder] = {}
        self._open: dict[str, dict[str, Trade]] = {}
        self._open_log(now_ns)

    @property
    def last_id(self) -> str:
        """Id of the last transaction."""
        return str(len(self.log))

    def append(
        self, kind: str, now_ns: int, request_id: str | None, batch_id: str | None = None, **fields: Any
    ) -> Transaction:
        """Writes a transaction; ids count from 1 without a gap."""
        number = str(len(self.log) + 1)
        entry: Transaction = {
            "id": number,
            "accountID": self.id,
            "userID": self.user_id,
            "batchID": batch_id or number,
            "time": rfc3339(now_ns),
            "type": kind,
        }
        if request_id is not None:
            entry["requestID"] = request_id
        entry.update({key: value for key, value in fields.items() if value is not None})
        self.log.append(entry)
        self.times_ns.append(now_ns)
        return entry

    def _open_log(self, now_ns: int) -> None:
        site, division, user, number = (int(part) for part in self.id.split("-"))
        names: dict[str, Any] = {
            "divisionID": division,
            "siteID": site,
            "accountUserID": user,
            "accountNumber": number,
        }
        self.append("CREATE", now_ns, None, homeCurrency=HOME, **names)
        balance = str(self.balance)
        self.append(
            "TRANSFER_FUNDS", now_ns, None, amount=balance, fundingReason="CLIENT_FUNDING", accountBalance=balance
        )

    def add_order(self, order: RestingOrder) -> None:
        """An order that waits, if only until the end of its own batch."""
        self.orders[order.id] = self._waiting[order.id] = order
        if client_id := order.spec.client.get("id"):
            self._client_ids[client_id] = order

    def end_order(self, order: RestingOrder, state: str) -> None:
        """Marks an order as filled or cancelled."""
        order.state = state
        self._waiting.pop(order.id, None)
        client_id = order.spec.client.get("id", "")
        if self._client_ids.get(client_id) is order:
            del self._client_ids[client_id]

    def rename_order(self, order: RestingOrder, client: dict[str, str]) -> None:
        """Gives a waiting order other client extensions."""
        self.end_order(order, order.state)
        order.spec.client.update(client)
        self.add_order(order)

    def add_trade(self, trade: Trade) -> None:
        """A trade that is open."""
        for side in (1, -1):
            self.realized.setdefault((trade.instrument, side), Decimal(0))
        self.trades[trade.id] = trade
        self._open.setdefault(trade.instrument, {})[trade.id] = trade

    def realize(self, trade: Trade, side: int, gain: Decimal) -> None:
        """Books what a reduction of a trade has brought."""
        self.balance += gain
        trade.realized += gain
        self.realized[trade.instrument, side] += gain

    def end_trade(self, trade: Trade, now_ns: int) -> None:
        """Marks a trade as closed."""
        trade.state, trade.close_time_ns = "CLOSED", now_ns
        held = self._open[trade.instrument]
        del held[trade.id]
        if not held:
            del self._open[trade.instrument]

    def traded(self) -> list[str]:
        """Instruments that ever had a position."""
        return list(dict.fromkeys(name for name, _ in self.realized))

    def pending(self) -> list[RestingOrder]:
        """Orders that wait, oldest first."""
        return list(self._waiting.values())

    def pending_for(self, trade_id: str) -> list[RestingOrder]:
        """Orders that wait to close a trade."""
        return [order for order in self._waiting.values() if order.spec.trade_id == trade_id]

    def pending_by_client_id(self, client_id: str) -> RestingOrder | None:
        """The waiting order with a client id: the only ones that the venue finds by it."""
        return self._client_ids.get(client_id)

    def instruments(self) -> list[str]:
        """Instruments with an open trade."""
        return list(self._open)

    def open_trades(self, instrument: str | None = None) -> list[Trade]:
        """Trades that are open, oldest first."""
        if instrument is not None:
            return list(self._open.get(instrument, {}).values())
        return sorted(
            (trade for held in self._open.values() for trade in held.values()), key=lambda item: int(item.id)
        )

    def position(self, instrument: str) -> Decimal:
        """Net units."""
        return sum((trade.units for trade in self.open_trades(instrument)), Decimal(0))

    def unrealized(self, prices: Mapping[str, Price], trades: Iterable[Trade] | None = None) -> Decimal:
        """What closing the trades (all open ones) at these prices would bring."""
        chosen = self.open_trades() if trades is None else trades
        return money(sum((profit(trade, prices) for trade in chosen), Decimal(0)))

    def margin_used(self, prices: Mapping[str, Price], rate: Decimal | None = None) -> Decimal:
        """Margin that the net positions take, in the account's currency; at another rate of the account if given."""
        margins = (self.margin(name, self.position(name), prices, rate) for name in self._open)
        return money(sum(margins, Decimal(0)))

    def margin(
        self, instrument: str, units: Decimal, prices: Mapping[str, Price], rate: Decimal | None = None
    ) -> Decimal:
        """Margin for net units of an instrument."""
        notional = abs(units) * prices[instrument].mid * home_factor(instrument, prices)
        return notional * max(LISTINGS[instrument].margin_rate, self.margin_rate if rate is None else rate)

    def equity(self, prices: Mapping[str, Price]) -> Decimal:
        """Balance and unrealised profit: the venue's NAV."""
        return self.balance + self.unrealized(prices)


def profit(trade: Trade, prices: Mapping[str, Price]) -> Decimal:
    """Unrealised profit of a trade at the price that would close it, in the account's currency."""
    exit_price = prices[trade.instrument].side(-trade.units)
    return (exit_price - trade.price) * trade.units * home_factor(trade.instrument, prices)
