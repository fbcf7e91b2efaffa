"""The books that must agree after a storm: the venue's log, the history, the metrics, the log records, the answers."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from broker_client import BrokerClient, pages
from devstack.configuration import ACCOUNT
from devstack.stack import Stack
from tests.e2e.chaos.callers import FINAL, Callers
from tests.otlp_receiver import RECORD_ID, OtlpReceiver

TRANSITION = "broker.order.transition"
UNTRIED = frozenset({"denied", "rejected"})


@dataclass(slots=True)
class Documents:
    """Log records as the collector has them, folded so that an hour of them fits in memory."""

    receiver: OtlpReceiver
    ids: set[str] = field(default_factory=set)
    redelivered: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    """Order transitions by their status."""

    async def fold_always(self) -> None:
        """Folds what has come, each second."""
        while True:
            await asyncio.sleep(1)
            self.fold()

    def fold(self) -> None:
        """Takes the requests that have come from the receiver."""
        taken, self.receiver.log_requests[:] = list(self.receiver.log_requests), []
        for request in taken:
            for resource in request.resource_logs:
                for scope in resource.scope_logs:
                    for record in scope.log_records:
                        self._take(record.event_name, {item.key: item.value.string_value for item in record.attributes})

    def _take(self, event: str, attributes: Mapping[str, str]) -> None:
        if (uid := attributes[RECORD_ID]) in self.ids:
            self.redelivered += 1
            return
        self.ids.add(uid)
        if event == TRANSITION:
            self.statuses[attributes["status"]] += 1


@dataclass(frozen=True, slots=True)
class VenueBooks:
    """The venue's log: how often it has each of our orders, and the fills of each."""

    placed: Counter[str]
    fills: Mapping[str, list[str]]


async def venue_books(stack: Stack, session: aiohttp.ClientSession) -> VenueBooks:
    """Reads the whole log of the simulator, by our order ids."""
    token = (stack.place.state / "simulator-token").read_text()
    url = f"{stack.addresses['simulator']}/v3/accounts/{ACCOUNT}/transactions/sinceid"
    placed: Counter[str] = Counter()
    ours: dict[str, str] = {}
    fills: dict[str, list[str]] = defaultdict(list)
    last, headers = "0", {"Authorization": f"Bearer {token}"}
    while True:
        async with session.get(url, params={"id": last}, headers=headers) as answer:
            page = (await answer.json())["transactions"]
        if not page:
            return VenueBooks(placed, fills)
        last = page[-1]["id"]
        for item in page:
            if item["type"] == "MARKET_ORDER":
                ours[item["id"]] = item["clientExtensions"]["id"].split(".")[3]
                placed[ours[item["id"]]] += 1
            elif item["type"] == "ORDER_FILL":
                fills[ours[item["orderID"]]].append(item["id"])


@dataclass(frozen=True, slots=True)
class HistoryBooks:
    """The history: the status of each order, and the venue's ids of its fills."""

    statuses: Mapping[str, str]
    fills: Mapping[str, list[str]]


async def whole_history(broker: BrokerClient, orders: set[str], deadline_s: float) -> HistoryBooks:
    """The history once it has these orders at their end, or what it has at the deadline: it follows the journal."""
    end = time.monotonic() + deadline_s
    while True:
        found = await _history(broker)
        ended = {order_id for order_id, status in found.statuses.items() if status in FINAL}
        if orders <= ended or time.monotonic() > end:
            return found
        await asyncio.sleep(1)


async def _history(broker: BrokerClient) -> HistoryBooks:
    statuses: dict[str, str] = {}
    fills: dict[str, list[str]] = defaultdict(list)
    async for page in pages(broker.list_past_orders, limit=1000):
        statuses |= {order.id: str(order.status) for order in page.orders}
    async for past in pages(broker.list_past_fills, limit=1000):
        for fill in past.fills:
            fills[fill.order_id].append(fill.transaction_id)
    return HistoryBooks(statuses, fills)


def answer_faults(callers: Callers, venue: VenueBooks, history: HistoryBooks) -> list[str]:
    """Each word that a caller was told and that the history does not have, in words."""
    found = [f"unexpected answer: {text}" for text in callers.unexpected]
    found += [f"{key} ended at {callers.words.get(key)}: {callers.latest.get(key)}" for key in callers.open]
    for key, words in callers.words.items():
        *untried, order_id = callers.ids[key]
        # The venue or a volume refused the earlier ones for a while, so that the key was free for the next try.
        found += [
            f"{key} is {order_id}, and {earlier} of that key is {history.statuses[earlier]}"
            for earlier in untried
            if history.statuses.get(earlier, "denied") not in UNTRIED or venue.fills.get(earlier)
        ]
        status = history.statuses.get(order_id, f"nothing: {callers.latest.get(key)}")
        if (final := [word for word in words if word in FINAL]) and final != [status]:
            found.append(f"{key} ({order_id}) was told {words}, and the history says {status}")
    return found


def venue_faults(venue: VenueBooks, history: HistoryBooks) -> list[str]:
    """Each order and fill of which venue and history tell differently, in words."""
    found = [f"the venue has {order_id} {count} times" for order_id, count in venue.placed.items() if count > 1]
    for order_id, status in history.statuses.items():
        at_venue, ours = sorted(venue.fills.get(order_id, [])), sorted(history.fills.get(order_id, []))
        if at_venue != ours:
            found.append(f"{order_id} ({status}): the venue has fills {at_venue}, the history {ours}")
        if status in {"denied", "presumed_absent"} and venue.placed[order_id]:
            found.append(f"{order_id} is {status}, and the venue has it")
    strangers = venue.fills.keys() - history.statuses.keys()
    return found + [f"the venue filled {order_id}, which no book of ours has" for order_id in strangers]


def count_faults(history: HistoryBooks, books: Mapping[str, Counter[str]]) -> list[str]:
    """Each book whose counts by status are not those of the history, in words."""
    wanted = Counter(history.statuses.values()) | Counter(received=len(history.statuses))
    found = []
    for book, counts in books.items():
        # An order that could not be kept (503, 409) leaves its key free: events tell of it, and the history does not.
        untried = counts["received"] - wanted["received"]
        expected = wanted + Counter(received=untried, denied=untried)
        if {name: counts[name] for name in expected} != dict(expected):
            found.append(f"{book} have {dict(counts)}, the history {dict(wanted)}")
    return found


def ledger_faults(status: Mapping[str, Any], arrived: int) -> list[str]:
    """Events that the sidecar's ledger has as dropped or rejected, in words; `arrived` documents were received."""
    ledger = status["ledger"]
    # Where the volume refuses checkpoints, segments go whose records were exported. After a kill the old checkpoint
    # says that they wait, and they count as dropped: the ledger errs on the side of a loss.
    if arrived >= ledger["logs"]["accepted"]:
        ledger["logs"]["dropped"].pop("journal_damaged", None)
    return [
        f"{name}: {counts}"
        for name, counts in (
            ("dropped log records", ledger["logs"]["dropped"]),
            ("rejected log records", ledger["logs"]["rejected"]),
        )
        if counts
    ]
