"""State of one simulated account: balance, orders, trades, positions and the log of transactions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from broker.simulator.clock import rfc3339
from broker.simulator.market.instruments import LISTINGS
from broker.simulator.market.market import HOME, Price, Prices, converted, value_at_home
from broker.simulator.v20.order_requests import OrderSpec

CENT = Decimal("0.0001")
"""Money is kept to four places, as the venue shows it."""
CLOSEOUT_SHARE = Decimal("0.5")
"""The venue closes positions when equity falls to half of the margin."""
MARGIN_RATE = Decimal("0.0333")
"""Of an account that its client has not configured."""
ZERO = "0.0000"
TransactionPayload = dict[str, Any]
"""A transaction as v20 writes it."""


def money(value: Decimal) -> Decimal:
    """Round an amount to four places, as the venue does."""
    return value.quantize(CENT)


def money_texts(**amounts: Decimal) -> dict[str, str]:
    """Round amounts and write them as texts, as v20 has all numbers."""
    return {name: str(money(amount)) for name, amount in amounts.items()}


@dataclass(slots=True, kw_only=True)
class SimulatedTrade:
    """A trade; `units` is signed and shrinks as the trade is reduced."""

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
    """Sum of units times price over its reductions."""
    initial_margin: Decimal = Decimal(0)
    client: dict[str, str] = field(default_factory=dict)

    @property
    def average_close_price(self) -> Decimal:
        """Average price over the units that have been closed."""
        return LISTINGS[self.instrument].round(self.closed_value / abs(self.initial_units - self.units))


@dataclass(slots=True, kw_only=True)
class RestingOrder:
    """An order with its life after creation; its id is its create transaction's."""

    id: str
    spec: OrderSpec
    create_time_ns: int
    state: str = "PENDING"
    trailing_value: Decimal | None = None
    touched_from: Decimal | None = None
    """Of a market-if-touched order: the price at its creation; its level is reached from there."""
    filled: Decimal = Decimal(0)
    """Signed units of the fills so far, of a limit order that met too little liquidity."""
    met: Price | None = None
    """Quote that it traded with last: its units are gone."""
    outcome: dict[str, Any] = field(default_factory=dict)
    """Fields that its end adds to the venue's object: ids of transactions and trades, times."""

    @property
    def instrument(self) -> str:
        """Its instrument."""
        return self.spec.instrument

    @property
    def left(self) -> Decimal:
        """Signed units that it still wants."""
        return self.spec.units - self.filled


class AccountBook:
    """State of an account, valued at the market's `prices`. It decides nothing: `Matching` and `Fills` write here."""

    def __init__(self, account_id: str, balance: Decimal, now_ns: int, prices: Prices) -> None:
        self.id = account_id
        site, division, self.user_id, number = (int(part) for part in account_id.split("-"))
        self.created_ns = now_ns
        self.prices = prices
        self.alias = "Simulated"
        self.margin_rate = MARGIN_RATE
        """Margin as a share of a position's value, at least; an instrument's own rate may be more."""
        self.balance = money(balance)
        self.financing = Decimal(0)
        self.commission = Decimal(0)
        self.guaranteed_fees = Decimal(0)
        self.commission_per_million = Decimal(0)
        """Home currency for a million of it that is traded; 0 is an account that pays by the spread."""
        self.hedging_enabled = False
        """Only shown: positions are netted in any case."""
        self.orders: dict[str, RestingOrder] = {}
        self.trades: dict[str, SimulatedTrade] = {}
        self.realized: dict[tuple[str, int], Decimal] = {}
        """By instrument and side (+1 long, -1 short), for every instrument that ever traded."""
        self.log: list[TransactionPayload] = []
        self.times_ns: list[int] = []
        """Time of each transaction."""
        # Waiting orders and open trades are also kept apart from ended ones, so that a long log slows no order.
        self._waiting: dict[str, RestingOrder] = {}
        self._client_ids: dict[str, RestingOrder] = {}
        self._open: dict[str, dict[str, SimulatedTrade]] = {}
        ids: dict[str, Any] = {
            "divisionID": division,
            "siteID": site,
            "accountUserID": self.user_id,
            "accountNumber": number,
        }
        self.append("CREATE", now_ns, None, homeCurrency=HOME, **ids)
        funds = money_texts(amount=self.balance, accountBalance=self.balance)
        self.append("TRANSFER_FUNDS", now_ns, None, fundingReason="CLIENT_FUNDING", **funds)

    def transfer(self, amount: Decimal, reason: str, now_ns: int) -> TransactionPayload:
        """Pay into the account, or out of it where `amount` is negative."""
        self.balance += money(amount)
        funds = money_texts(amount=amount, accountBalance=self.balance)
        return self.append("TRANSFER_FUNDS", now_ns, None, fundingReason=reason, **funds)

    @property
    def last_id(self) -> str:
        """Id of the last transaction."""
        return str(len(self.log))

    def append(
        self, kind: str, now_ns: int, request_id: str | None, batch_id: str | None = None, **fields: Any
    ) -> TransactionPayload:
        """Write a transaction; ids count from 1 without a gap."""
        number = str(len(self.log) + 1)
        # A batch has the id of its first transaction.
        entry = {"id": number, "accountID": self.id, "userID": self.user_id, "batchID": batch_id or number}
        entry |= {"time": rfc3339(now_ns), "type": kind}
        # v20 leaves out fields without a value.
        entry |= {key: value for key, value in {"requestID": request_id, **fields}.items() if value is not None}
        self.log.append(entry)
        self.times_ns.append(now_ns)
        return entry

    def add_order(self, order: RestingOrder) -> None:
        """Enter an order that waits, if only until the end of its own batch."""
        self.orders[order.id] = self._waiting[order.id] = order
        if client_id := order.spec.client.get("id"):
            self._client_ids[client_id] = order

    def end_order(self, order: RestingOrder, state: str) -> None:
        """Mark an order as filled or cancelled."""
        order.state = state
        self._waiting.pop(order.id, None)
        client_id = order.spec.client.get("id", "")
        # A client id is taken only while its order waits; afterwards another order may have it.
        if self._client_ids.get(client_id) is order:
            del self._client_ids[client_id]

    def rename_order(self, order: RestingOrder, client: dict[str, str]) -> None:
        """Give a waiting order other client extensions."""
        # Out and in again: the index by client id must lose the old one.
        self.end_order(order, order.state)
        order.spec.client.update(client)
        self.add_order(order)

    def add_trade(self, trade: SimulatedTrade) -> None:
        """Enter an open trade."""
        # Both sides from the first trade on: a position that once traded shows zeros for ever, not 404.
        for side in (1, -1):
            self.realized.setdefault((trade.instrument, side), Decimal(0))
        self.trades[trade.id] = trade
        self._open.setdefault(trade.instrument, {})[trade.id] = trade

    def realize(self, trade: SimulatedTrade, side: int, gain: Decimal) -> None:
        """Book the gain of a reduction of a trade."""
        self.balance += gain
        trade.realized += gain
        self.realized[trade.instrument, side] += gain

    def charge(self, commission: Decimal, guaranteed_fee: Decimal) -> None:
        """Take the costs of a fill from the balance."""
        self.balance -= commission + guaranteed_fee
        self.commission += commission
        self.guaranteed_fees += guaranteed_fee

    def end_trade(self, trade: SimulatedTrade, now_ns: int) -> None:
        """Mark a trade as closed."""
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
        """Waiting order with a client id; the venue finds ended ones by their own id only."""
        return self._client_ids.get(client_id)

    def instruments(self) -> list[str]:
        """Instruments with an open trade."""
        return list(self._open)

    def open_trades(self, instrument: str | None = None) -> list[SimulatedTrade]:
        """Trades that are open, oldest first."""
        if instrument is not None:
            return list(self._open.get(instrument, {}).values())
        every = (trade for held in self._open.values() for trade in held.values())
        return sorted(every, key=lambda item: int(item.id))

    def position(self, instrument: str) -> Decimal:
        """Net units."""
        return sum((trade.units for trade in self.open_trades(instrument)), Decimal(0))

    def home_factor(self, instrument: str) -> Decimal:
        """Value of one unit of the instrument's quote currency in the account's currency."""
        return value_at_home(LISTINGS[instrument].quote_currency, self.prices)

    def result_at_home(self, instrument: str, amount: Decimal) -> Decimal:
        """Gain or loss in the instrument's quote currency, converted as the venue converts its sign."""
        factor = self.home_factor(instrument)
        return amount * factor if factor == 1 else amount * converted(factor, gains=amount > 0)

    def notional(self, instrument: str, units: Decimal) -> Decimal:
        """Value of units of an instrument at the mid price, in the account's currency."""
        return abs(units) * self.prices[instrument].mid * self.home_factor(instrument)

    def profit(self, trade: SimulatedTrade) -> Decimal:
        """Unrealised profit of a trade at the price that would close it, in the account's currency."""
        exit_price = self.prices[trade.instrument].side(-trade.units)
        return self.result_at_home(trade.instrument, (exit_price - trade.price) * trade.units)

    def unrealized(self, trades: Iterable[SimulatedTrade] | None = None) -> Decimal:
        """Gain of closing the trades (all open ones) now."""
        return money(sum(map(self.profit, self.open_trades() if trades is None else trades), Decimal(0)))

    def margin_used(self, rate: Decimal | None = None) -> Decimal:
        """Margin of the net positions, in the account's currency; at another rate of the account if given."""
        # Net positions: without hedging the two sides of an instrument never stand at once.
        return money(sum((self.margin(name, self.position(name), rate) for name in self._open), Decimal(0)))

    def margin(self, instrument: str, units: Decimal, rate: Decimal | None = None) -> Decimal:
        """Margin for net units of an instrument."""
        least = self.margin_rate if rate is None else rate
        return self.notional(instrument, units) * max(LISTINGS[instrument].margin_rate, least)

    def equity(self) -> Decimal:
        """Balance and unrealised profit: the venue's NAV."""
        return self.balance + self.unrealized()
