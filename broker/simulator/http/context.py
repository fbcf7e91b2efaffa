"""One request to the simulated v20, read: what endpoints take, and what they answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from broker.simulator.account import transaction_log as ledger
from broker.simulator.account.account import AccountBook
from broker.simulator.account.matching import Matching
from broker.simulator.http.answers import AnswerError, invalid
from broker.simulator.venue import Venue

Answer = tuple[int, dict[str, Any]]
"""Status and body."""
LARGEST_COUNT = 500
DEFAULT_COUNT = 50


@dataclass(slots=True, kw_only=True)
class Context:
    """One request, read."""

    venue: Venue
    book: AccountBook
    request_id: str
    path: str
    parts: Mapping[str, str]
    query: Mapping[str, str]
    body: Any
    headers: dict[str, str]
    """Of the answer; an endpoint may add to them."""
    lag_s: float = 0.0
    """How far behind the log a reader is kept."""

    @property
    def rules(self) -> Matching:
        """What the venue does to the account, now."""
        return self.venue.matching(self.book, self.request_id)

    @property
    def log(self) -> list[dict[str, Any]]:
        """The log as far as this reader sees it."""
        return self.book.log[: self.venue.visible(self.book, self.lag_s)]

    @property
    def instrument(self) -> str:
        """The instrument of the path; raises AnswerError where it is not listed."""
        name = self.parts["instrument"]
        if name not in self.venue.market.prices:
            raise invalid("instrument")
        return name

    @property
    def count(self) -> int:
        """How many are asked for; raises AnswerError where that cannot be."""
        count = ledger.whole(self.query.get("count", str(DEFAULT_COUNT)), "count")
        if not 0 < count <= LARGEST_COUNT:
            raise invalid("count")
        return count

    def names(self, *, required: bool) -> list[str]:
        """The instruments of the query, all where it may name none.

        Raises:
            AnswerError: it names none, or one that is not listed.
        """
        text = self.query.get("instruments", "")
        if not text and required:
            raise AnswerError(400, {"errorMessage": "Missing argument 'instruments'"})
        names = text.split(",") if text else list(self.venue.market.prices)
        if any(name not in self.venue.market.prices for name in names):
            raise invalid("instruments")
        return names

    def seen(self, **found: Any) -> dict[str, Any]:
        """The body of a read of the log, as far as this reader sees it."""
        return {**found, "lastTransactionID": str(self.venue.visible(self.book, self.lag_s))}
