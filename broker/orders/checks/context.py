"""Context of the pre-trade checks: gathers the facts that they need, runs them, and reports their findings.

It keeps those facts that only the past tells: the circuit breaker, the rates, and the orders of the last seconds.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from time import monotonic, perf_counter

from msgspec import Struct
from msgspec.structs import replace

from broker.domain import Account, OrderRequest
from broker.events.orders import OrderStage, RiskCheck, RiskPassed, RiskUtilisation
from broker.orders.checks import risk
from broker.orders.checks.market_view import MarketView, Usage
from broker.orders.checks.risk import is_exit
from broker.orders.dependencies import EngineDependencies
from broker.orders.model.exposure import ACCOUNT, ZERO, gross_worth, resting_orders
from broker.orders.model.lifecycle import CLOSES, OrderRecord
from broker.orders.model.trading_state import TradingState
from broker.orders.settings import RiskLimits
from broker.orders.store.order_index import OPEN
from broker.orders.store.order_store import OrderStore
from broker.venue.rest.rate_limit import Bucket


class CircuitState(StrEnum):
    """State of the breaker."""

    CLOSED = "closed"
    """New orders go through."""
    OPEN = "open"
    """New orders are refused."""
    HALF_OPEN = "half_open"
    """One order may try."""


class Circuit(Struct, frozen=True, kw_only=True):
    """Circuit breaker for new orders: after failures in a row it leaves the venue alone for a while.

    It holds back opens only, never a cancel, a close or a read: those reduce risk or tell the truth. Times are
    seconds on the caller's clock.
    """

    failures_to_open: int
    pause_s: float
    failures: int = 0
    opened_s: float | None = None
    trying: bool = False

    def state(self, now_s: float) -> CircuitState:
        """State at `now_s`."""
        if self.opened_s is None:
            return CircuitState.CLOSED
        return CircuitState.OPEN if now_s - self.opened_s < self.pause_s else CircuitState.HALF_OPEN

    def allows(self, now_s: float) -> bool:
        """True where a new order may go."""
        state = self.state(now_s)
        # One at a time while half open: a venue that is just coming back must not meet a burst.
        return state is CircuitState.CLOSED or (state is CircuitState.HALF_OPEN and not self.trying)

    def sent(self, now_s: float) -> Circuit:
        """Breaker after an order was sent: in the half-open state that order is the one that tries."""
        if self.opened_s is None and not self.trying:
            return self
        return replace(self, trying=self.state(now_s) is CircuitState.HALF_OPEN)

    def unanswered(self) -> Circuit:
        """Breaker after an order that has told nothing of the venue: it was withheld, or there were too many."""
        return replace(self, trying=False)

    def after(self, now_s: float, *, failed: bool) -> Circuit:
        """Breaker after an answer, or after none came. A refusal is no failure: the venue works."""
        if not failed:
            if self.opened_s is None and not (self.failures or self.trying):
                return self
            return replace(self, failures=0, opened_s=None, trying=False)
        failures = self.failures + 1
        # After a pause one failure opens it again: the order that tried has shown that nothing is mended.
        opens = failures >= self.failures_to_open or self.opened_s is not None
        return replace(self, failures=failures, opened_s=now_s if opens else None, trying=False)


class Verdict(Struct, frozen=True, kw_only=True):
    """Result of the checks of one order."""

    denial: risk.Denial | None
    """The first one; None if the order may go."""
    is_exit: bool = False
    reduce_only: bool = False
    """True if it may go only because it is an exit, and must be held to that at the venue."""


class PreTradeChecks:
    """The checks of one ownership term, with the rates and recent orders that they need."""

    def __init__(self, dependencies: EngineDependencies, store: OrderStore) -> None:
        self._store = store
        self._prices = dependencies.prices
        self._settings = settings = dependencies.settings
        self.circuit = Circuit(failures_to_open=settings.circuit_failures, pause_s=settings.circuit_pause_s)
        self._account = dependencies.venue.settings.account
        self._emit = dependencies.emit
        self._buckets: dict[str, Bucket] = {}
        self._recent: dict[OrderRequest, float] = {}
        self.day_profit = Decimal(0)
        """Of this UTC day, as of the last summary of the account."""
        self._summary: Account | None = None

    def verdict(self, record: OrderRecord, replaced: OrderRecord | None) -> Verdict:
        """The first denial, or the way in which the order may go; each check that was made is counted.

        `replaced` is the resting order whose place it takes.
        """
        started = perf_counter()
        request = record.order.request
        market = self._market(record, replaced)
        found = risk.check(request, market, self._settings)
        exits = found is None and is_exit(request, market.position, closes=market.closes)
        reduce_only = exits and risk.check_as_entry(request, market, self._settings) is not None
        duration_s = perf_counter() - started
        if found is None:
            # One event for all checks: most orders pass, and an event each would be twenty of every order.
            self._emit(RiskPassed(duration_s=duration_s))
            return Verdict(denial=None, is_exit=exits, reduce_only=reduce_only)
        self._emit(OrderStage(stage="risk", duration_s=duration_s))
        for name, result in risk.outcomes(found):
            self._emit(RiskCheck(check=name, result=result))
        return Verdict(denial=found)

    def count(self, request: OrderRequest) -> None:
        """Count an order that goes: it uses up rates, and later ones may be its duplicates."""
        now_s = monotonic()
        for key, limits in self._limits(request):
            if limits.orders_per_s:
                self._buckets[key] = self._bucket(key, limits).taken(now_s)
        if self._settings.duplicate_window_s:
            self._recent[_content(request)] = now_s

    def _market(self, record: OrderRecord, replaced: OrderRecord | None) -> MarketView:
        store, now_s, request = self._store, monotonic(), record.order.request
        # The account's first, the client's last; one without limits of its own shares the account's.
        usages = [self._usage(key, limits, request, replaced, now_s) for key, limits in self._limits(request)]
        return MarketView(
            now=store.now(),
            state=store.control.state,
            account=self._account,
            instrument=store.instruments.get(request.instrument),
            quote=self._prices.book.quote(request.instrument),
            prices_alive=self._prices.stream.is_alive,
            circuit_allows=self.circuit.allows(now_s),
            conversion=self._prices.book.conversions.get(request.instrument),
            position=store.position(request.instrument),
            day_profit=self.day_profit,
            account_usage=usages[0],
            client_usage=usages[-1],
            twin=self._is_twin(request, now_s),
            closes=record.action in CLOSES,
            margin_available=self._margin_available() if self._settings.margin_check else None,
            margin_rate=self._summary.margin_rate if self._summary is not None else ZERO,
        )

    def _usage(
        self, key: str, limits: RiskLimits, request: OrderRequest, replaced: OrderRecord | None, now_s: float
    ) -> Usage:
        index = self._store.index
        # Of the order that is replaced only what is this key's.
        out = replaced if replaced is not None and key in {ACCOUNT, replaced.order.request.client} else None
        gone = resting_orders(out.order.request) if out is not None and out.status in OPEN else 0
        # The venue lets an order take the place of one in another instrument, whose units are in other sums.
        is_here = out is not None and out.order.request.instrument == request.instrument
        return Usage(
            open_orders=index.open_of(key) - gone,
            order_tokens=self._bucket(key, limits).tokens(now_s) if limits.orders_per_s else 1.0,
            working=index.exposure.of(request.instrument, key).without(out if is_here else None),
            other_exposure=self._exposure(key, besides=request.instrument) if limits.gross_exposure else ZERO,
        )

    def _exposure(self, key: str, besides: str = "") -> Decimal | None:
        store = self._store
        held = {name: store.position(name) for name in store.held()}
        return gross_worth(store.index.exposure, key, held, self._worth, besides)

    def _worth(self, instrument: str) -> Decimal | None:
        """Worth of a unit in the account's currency, at the ask; None if it is not known."""
        quote, factor = self._prices.book.quote(instrument), self._prices.book.conversions.get(instrument)
        return quote.ask * factor if quote is not None and factor is not None else None

    def _margin_available(self) -> Decimal | None:
        """Margin of the last summary, less what fills have taken since and what is on its way may take."""
        if self._summary is None:
            return None
        store, available = self._store, self._summary.margin_available
        moved, exposure = store.moved_units(), self._store.index.exposure
        for name in moved.keys() | exposure.flying.keys():
            now, works, known = store.position(name), exposure.of(name), store.instruments.get(name)
            if known is None or (worth := self._worth(name)) is None:
                continue
            rate = max(known.margin_rate, self._summary.margin_rate)
            taken = abs(now) - abs(moved.get(name, now))
            taken += max(ZERO, works.flying_buys - max(ZERO, -now)) + max(ZERO, works.flying_sells - max(ZERO, now))
            available -= taken * worth * rate
        return available

    def _limits(self, request: OrderRequest) -> list[tuple[str, RiskLimits]]:
        own = self._settings.clients.get(request.client)
        return [(ACCOUNT, self._settings.account)] + ([(request.client, own)] if own is not None else [])

    def _bucket(self, key: str, limits: RiskLimits) -> Bucket:
        # A bucket that nobody has used yet is full.
        return self._buckets.get(key) or Bucket(limits.orders_per_s, float(limits.order_burst))

    def _is_twin(self, request: OrderRequest, now_s: float) -> bool:
        window_s = self._settings.duplicate_window_s
        if not window_s:
            return False
        # Dicts keep the order of insertion: the first one within the window ends the search.
        for content, at_s in list(self._recent.items()):
            if now_s - at_s < window_s:
                break
            del self._recent[content]
        return _content(request) in self._recent

    def note_account(self, account: Account) -> None:
        """Take today's profit from the account's summary: its value now against the day's first (UTC), less transfers.

        Raises OrderJournalError: the day's first value is not in the journal.
        """
        if account.hedging and self._store.control.state is not TradingState.HALTED:
            self._store.set_state(TradingState.HALTED, "broker", f"account {account.id} was changed to hedging")
        self._summary = account
        self._store.mark_positions()
        self._note_day(account)
        self._sample_limits(account)

    def _note_day(self, account: Account) -> None:
        # Journaled, so that a restart in the middle of a day does not forgive the losses before it.
        today, control = self._store.now().date(), self._store.control
        at = int(account.last_transaction_id)
        if control.day != today or control.day_nav is None:
            self._store.set_control(day=today, day_nav=account.nav, day_at=at, transfers=ZERO, transfers_at=0)
        # A transfer counts in both or in neither: one of the two readings may be the older one.
        elif not control.transfers_at <= at <= (control.applied or 0):
            return
        control = self._store.control
        self.day_profit = account.nav - control.transfers - (control.day_nav or account.nav)

    def _sample_limits(self, account: Account) -> None:
        """Emit the used share of each of the account's limits."""
        limits, settings, store = self._settings.account, self._settings, self._store
        if limits.open_orders:
            self._utilise("open_orders", store.index.open_of(ACCOUNT) / limits.open_orders)
        if limits.orders_per_s:
            tokens = self._bucket(ACCOUNT, limits).tokens(monotonic())
            self._utilise("order_rate", 1.0 - tokens / limits.order_burst)
        if settings.daily_loss:
            self._utilise("daily_loss", max(0.0, float(-self.day_profit / settings.daily_loss)))
        if limits.position_units:
            exposure, names = store.index.exposure, store.held() | store.index.exposure.instruments()
            widest = max((exposure.of(name).widest(store.position(name)) for name in names), default=ZERO)
            self._utilise("position_units", float(widest / limits.position_units))
        if limits.gross_exposure and (worth := self._exposure(ACCOUNT)) is not None:
            self._utilise("gross_exposure", float(worth / limits.gross_exposure))
        if settings.margin_check and (margin := account.margin_used + account.margin_available):
            self._utilise("margin", float(account.margin_used / margin))

    def _utilise(self, limit: str, ratio: float) -> None:
        self._emit(RiskUtilisation(limit=limit, ratio=ratio))


def _content(request: OrderRequest) -> OrderRequest:
    return replace(request, client_order_id="", traceparent=None)
