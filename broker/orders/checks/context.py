"""Gathers what the pre-trade checks want to know, runs them, and tells what they found."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from time import monotonic, perf_counter

from msgspec.structs import replace

from broker.domain import OrderRequest
from broker.events.orders import OrderStage, RiskCheck, RiskPassed, RiskUtilisation
from broker.orders.checks import risk
from broker.orders.settings import OrderSettings, RiskLimits
from broker.orders.store.index import OPEN
from broker.orders.store.order_store import Keeper
from broker.venue.rest.rate_limit import Bucket
from broker.venue.streams.quote_book import QuoteBook
from producer.emitter import Emit

ACCOUNT = ""
"""Key of the account's own bucket; no client has an empty id."""


class Pretrade:
    """The checks of one taking of the account, with the rates and recent orders that they need."""

    def __init__(
        self,
        keeper: Keeper,
        book: QuoteBook,
        settings: OrderSettings,
        *,
        account: str,
        emit: Emit,
        prices_alive: Callable[[], bool],
        circuit_allows: Callable[[], bool],
    ) -> None:
        self._keeper = keeper
        self._book = book
        self._settings = settings
        self._account = account
        self._emit = emit
        self._prices_alive = prices_alive
        self._circuit_allows = circuit_allows
        self._buckets: dict[str, Bucket] = {}
        self._recent: dict[OrderRequest, float] = {}
        self.day_profit = Decimal(0)
        """Of this UTC day, as of the last sample of the account."""

    def verdict(self, request: OrderRequest, replaced: OrderRequest | None) -> risk.Denial | None:
        """The first denial, or None where the order may go; each check that was made is counted.

        `replaced` is the resting order whose place it takes.
        """
        started = perf_counter()
        found = risk.check(request, self._market(request, replaced), self._settings)
        duration_s = perf_counter() - started
        if found is None:
            self._emit(RiskPassed(duration_s=duration_s))
        else:
            self._tell(found, duration_s)
        return found

    def _tell(self, denial: risk.Denial, duration_s: float) -> None:
        self._emit(OrderStage(stage="risk", duration_s=duration_s))
        for name, result in risk.outcomes(denial):
            self._emit(RiskCheck(check=name, result=result))

    def count(self, request: OrderRequest) -> None:
        """The order goes: it uses up rates, and later ones may be its duplicates."""
        now_s = monotonic()
        for key, limits in self._limits(request):
            if limits.orders_per_s:
                self._buckets[key] = self._bucket(key, limits).taken(now_s)
        if self._settings.duplicate_window_s:
            self._recent[_content(request)] = now_s

    def _market(self, request: OrderRequest, replaced: OrderRequest | None) -> risk.Market:
        keeper, now_s = self._keeper, monotonic()
        usages = [
            risk.Usage(
                open_orders=self._open(key, replaced),
                order_tokens=self._bucket(key, limits).tokens(now_s) if limits.orders_per_s else 1.0,
            )
            for key, limits in self._limits(request)
        ]
        return risk.Market(
            now=keeper.now(),
            state=keeper.control.state,
            account=self._account,
            instrument=keeper.instruments.get(request.instrument),
            quote=self._book.quote(request.instrument),
            prices_alive=self._prices_alive(),
            circuit_allows=self._circuit_allows(),
            conversion=self._book.conversions.get(request.instrument),
            position=keeper.position(request.instrument),
            day_profit=self.day_profit,
            account_usage=usages[0],
            client_usage=usages[-1],
            twin=self._is_twin(request, now_s),
        )

    def _open(self, key: str, replaced: OrderRequest | None) -> int:
        """How many orders are open besides the one that is replaced."""
        register = self._keeper.register
        found = register.count(OPEN) if key == ACCOUNT else register.open_of(key)
        return found - (replaced is not None and key in {ACCOUNT, replaced.client})

    def _limits(self, request: OrderRequest) -> list[tuple[str, RiskLimits]]:
        own = self._settings.clients.get(request.client)
        return [(ACCOUNT, self._settings.account)] + ([(request.client, own)] if own is not None else [])

    def _bucket(self, key: str, limits: RiskLimits) -> Bucket:
        return self._buckets.get(key) or Bucket(limits.orders_per_s, float(limits.order_burst))

    def _is_twin(self, request: OrderRequest, now_s: float) -> bool:
        window_s = self._settings.duplicate_window_s
        if not window_s:
            return False
        for content, at_s in list(self._recent.items()):
            if now_s - at_s < window_s:
                break
            del self._recent[content]
        return _content(request) in self._recent

    def sample(self) -> None:
        """How much of the account's limits is used."""
        limits, register = self._settings.account, self._keeper.register
        if limits.open_orders:
            self._emit(RiskUtilisation(limit="open_orders", ratio=register.count(OPEN) / limits.open_orders))
        if limits.orders_per_s:
            tokens = self._bucket(ACCOUNT, limits).tokens(monotonic())
            self._emit(RiskUtilisation(limit="order_rate", ratio=1.0 - tokens / limits.order_burst))
        if self._settings.daily_loss:
            ratio = max(0.0, float(-self.day_profit / self._settings.daily_loss))
            self._emit(RiskUtilisation(limit="daily_loss", ratio=ratio))


def _content(request: OrderRequest) -> OrderRequest:
    return replace(request, client_order_id="", traceparent=None)
