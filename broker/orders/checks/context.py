"""Context of the pre-trade checks: gathers the facts that they need, runs them, and reports their findings.

It keeps those facts that only the past tells: the circuit breaker, the rates, and the orders of the last seconds.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from time import monotonic, perf_counter

from msgspec import Struct
from msgspec.structs import replace

from broker.domain import Account, OrderRequest
from broker.events.orders import OrderStage, RiskCheck, RiskPassed, RiskUtilisation
from broker.orders.checks import risk
from broker.orders.dependencies import EngineDependencies
from broker.orders.settings import RiskLimits
from broker.orders.store.order_store import OPEN, OrderStore
from broker.venue.rest.rate_limit import Bucket

ACCOUNT = ""
"""Key of the account's own bucket; no client has an empty id."""


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
        return replace(self, trying=self.state(now_s) is CircuitState.HALF_OPEN)

    def after(self, now_s: float, *, failed: bool) -> Circuit:
        """Breaker after an answer, or after none came. A refusal is no failure: the venue works."""
        if not failed:
            return replace(self, failures=0, opened_s=None, trying=False)
        failures = self.failures + 1
        # After a pause one failure opens it again: the order that tried has shown that nothing is mended.
        opens = failures >= self.failures_to_open or self.opened_s is not None
        return replace(self, failures=failures, opened_s=now_s if opens else None, trying=False)


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

    def verdict(self, request: OrderRequest, replaced: OrderRequest | None) -> risk.Denial | None:
        """The first denial, or None if the order may go; each check that was made is counted.

        `replaced` is the resting order whose place it takes.
        """
        started = perf_counter()
        found = risk.check(request, self._market(request, replaced), self._settings)
        duration_s = perf_counter() - started
        if found is None:
            # One event for all checks: most orders pass, and an event each would be sixteen of every order.
            self._emit(RiskPassed(duration_s=duration_s))
            return None
        self._emit(OrderStage(stage="risk", duration_s=duration_s))
        for name, result in risk.outcomes(found):
            self._emit(RiskCheck(check=name, result=result))
        return found

    def count(self, request: OrderRequest) -> None:
        """Count an order that goes: it uses up rates, and later ones may be its duplicates."""
        now_s = monotonic()
        for key, limits in self._limits(request):
            if limits.orders_per_s:
                self._buckets[key] = self._bucket(key, limits).taken(now_s)
        if self._settings.duplicate_window_s:
            self._recent[_content(request)] = now_s

    def _market(self, request: OrderRequest, replaced: OrderRequest | None) -> risk.MarketView:
        store, now_s = self._store, monotonic()
        # The account's first, the client's last; one without limits of its own shares the account's.
        usages = [
            risk.Usage(
                open_orders=self._open(key, replaced),
                order_tokens=self._bucket(key, limits).tokens(now_s) if limits.orders_per_s else 1.0,
            )
            for key, limits in self._limits(request)
        ]
        return risk.MarketView(
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
        )

    def _open(self, key: str, replaced: OrderRequest | None) -> int:
        """Number of open orders besides the one that is replaced."""
        index = self._store.index
        found = index.count(OPEN) if key == ACCOUNT else index.open_of(key)
        return found - (replaced is not None and key in {ACCOUNT, replaced.client})

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
        """Take today's profit from the account's summary: its value now against the day's first (UTC).

        Raises OrderJournalError: the day's first value is not in the journal.
        """
        # Journaled, so that a restart in the middle of a day does not forgive the losses before it.
        today, control = datetime.now(UTC).date(), self._store.control
        if control.day != today or control.day_nav is None:
            self._store.set_control(day=today, day_nav=account.nav)
        self.day_profit = account.nav - (self._store.control.day_nav or account.nav)
        # The used share of each of the account's limits.
        limits, index = self._settings.account, self._store.index
        if limits.open_orders:
            self._emit(RiskUtilisation(limit="open_orders", ratio=index.count(OPEN) / limits.open_orders))
        if limits.orders_per_s:
            tokens = self._bucket(ACCOUNT, limits).tokens(monotonic())
            self._emit(RiskUtilisation(limit="order_rate", ratio=1.0 - tokens / limits.order_burst))
        if self._settings.daily_loss:
            ratio = max(0.0, float(-self.day_profit / self._settings.daily_loss))
            self._emit(RiskUtilisation(limit="daily_loss", ratio=ratio))


def _content(request: OrderRequest) -> OrderRequest:
    return replace(request, client_order_id="", traceparent=None)
