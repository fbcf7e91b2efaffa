"""The broker's own health: its condition names, and the latest value of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from pod_runtime import condition
from pod_runtime.condition import ConditionName
from producer.health import Condition


class BrokerCondition(ConditionName):
    """Conditions that the broker reports, of the process or of one account."""

    ALIVE = (
        condition.ALIVE,
        "the process owns each of its accounts, waits for its turn, or gives the account back in order",
        "NoPlace",
    )
    CREDENTIALS = (
        "Credentials",
        "a generation of secrets was proved and is in use (a refused one: `Rejected` and the reason)",
        *("DatabaseUnavailable", "Malformed", "Missing", "Unauthorized"),
        *("VenueUnavailable", "WaitingForSecrets", "WrongAccount"),
    )
    VENUE_TOKEN = "VenueToken", "the venue accepts the token that is in use", "Unauthorized"
    SERVING = "Serving", "the order API takes requests", "Draining", "NoDescriptors"
    OWNERSHIP = (
        "Ownership",
        "this process trades the account (advice where a standby is ready: `orders.standby`)",
        *("Lost", "NotOwner", "Starting"),
    )
    JOURNAL = "Journal", "the order journal is open and takes intents", "JournalFailed"
    VENUE = "Venue", "the broker's books agree with the venue since it acquired the account", "HedgingAccount"
    PRICES = "Prices", "the price stream is alive and has brought prices", "NoPrices", "StreamDown"
    TRANSACTIONS = "Transactions", "the transaction stream is alive", "StreamDown"
    TRADING = "Trading", "trading is neither halted nor reducing (advice)", "Halted", "Reducing"
    OUTCOMES = "Outcomes", "no order is `unknown` (advice)", "OutcomeUnknown"
    HISTORY = "History", "the history database takes rows (advice)", "Starting"


class Conditions:
    """Latest value of each condition; `since` changes only with `ok` and `reason`."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._held: dict[BrokerCondition, Condition] = {}

    def set(self, name: BrokerCondition, *, ok: bool, reason: str, message: str = "", advisory: bool = False) -> None:
        """Record the value of a condition now."""
        new = Condition(name=name, ok=ok, reason=reason, message=message, since=self._clock(), advisory=advisory)
        # A message may count tries or name a time; a fault is the same one for as long as its reason is.
        old = self._held.get(name)
        if old is not None and (old.ok, old.reason) == (ok, reason):
            new = replace(new, since=old.since)
        self._held[name] = new

    def all(self) -> list[Condition]:
        """List every condition that was set, ordered by name."""
        return [self._held[name] for name in sorted(self._held)]

    def fault(self) -> Condition | None:
        """Return the first condition that makes the broker not ready, None if it is ready."""
        return next((item for item in self.all() if not item.ok and not item.advisory), None)
