"""Reads of an account's log: by id, by range, by type, in pages, and as changes since a transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from broker.simulator.account import payloads
from broker.simulator.account.account import AccountBook, TransactionPayload
from broker.simulator.clock import parse_ns
from broker.simulator.market.market import Prices
from broker.simulator.v20.answers import RefusalError, absent, invalid, whole
from broker.simulator.v20.order_requests import DEPENDENT_TYPES, ENTRY_TYPES

Query = Mapping[str, str]
DEFAULT_PAGE = 100
LARGEST_PAGE = 1000
_ORDER_TYPES = tuple(f"{name}_ORDER" for name in (*ENTRY_TYPES, *DEPENDENT_TYPES))
_GROUPS = {
    "ORDER": (
        *_ORDER_TYPES,
        *(f"{name}_REJECT" for name in _ORDER_TYPES),
        "ORDER_FILL",
        "ORDER_CANCEL",
        "ORDER_CANCEL_REJECT",
    ),
    "FUNDING": ("TRANSFER_FUNDS", "TRANSFER_FUNDS_REJECT"),
    "ADMIN": ("CREATE", "CLOSE", "REOPEN", "CLIENT_CONFIGURE", "CLIENT_CONFIGURE_REJECT"),
}


def one(log: list[TransactionPayload], transaction_id: str) -> TransactionPayload:
    """`transactions/{id}`."""
    number = whole(transaction_id, "transactionID")
    if not 0 < number <= len(log):
        raise absent("NO_SUCH_TRANSACTION", "The transaction ID specified does not exist")
    # Ids count from 1 without a gap: the log is its own index.
    return log[number - 1]


def since(log: list[TransactionPayload], query: Query) -> list[TransactionPayload]:
    """`transactions/sinceid`: everything behind an id."""
    after = whole(query.get("id", ""), "id")
    if after > len(log):
        raise invalid("id")
    return of_types(log[after:], query)


def between(log: list[TransactionPayload], query: Query) -> list[TransactionPayload]:
    """`transactions/idrange`, both ends included."""
    first, last = whole(query.get("from", ""), "from"), whole(query.get("to", ""), "to")
    if not 0 < first <= last or first > len(log):
        words = {"errorMessage": "The specified range is not satisfiable"}
        raise RefusalError(416, words)
    return of_types(log[first - 1 : last], query)


def of_types(entries: Iterable[TransactionPayload], query: Query) -> list[TransactionPayload]:
    """Filter by the types that `type` lists, single or by group; all without it."""
    names = [name for name in query.get("type", "").split(",") if name]
    if not names:
        return list(entries)
    wanted = {member for name in names for member in _GROUPS.get(name, (name,))}
    return [entry for entry in entries if entry["type"] in wanted]


def pages(log: list[TransactionPayload], query: Query, base: str, now: str) -> dict[str, Any]:
    """`transactions`: no transactions, but the addresses of pages of them."""
    size = whole(query.get("pageSize", str(DEFAULT_PAGE)), "pageSize")
    if not 0 < size <= LARGEST_PAGE:
        raise invalid("pageSize")
    start, end = query.get("from", log[0]["time"]), query.get("to", now)
    try:
        low, high = parse_ns(start), parse_ns(end)
    except ValueError:
        raise invalid("from") from None
    ids = [int(entry["id"]) for entry in of_types(log, query) if low <= parse_ns(entry["time"]) <= high]
    kinds = f"&type={query['type']}" if "type" in query else ""
    chunks = [ids[at : at + size] for at in range(0, len(ids), size)]
    return {
        "from": start,
        "to": end,
        "pageSize": size,
        **({"type": query["type"].split(",")} if "type" in query else {}),
        "count": len(ids),
        # Addresses, not transactions: the venue has the client fetch each page by its range of ids.
        "pages": [f"{base}/idrange?from={chunk[0]}&to={chunk[-1]}{kinds}" for chunk in chunks],
    }


def changes(book: AccountBook, query: Query, prices: Prices) -> dict[str, Any]:
    """`changes`: orders, trades and positions changed behind a transaction, and the state that depends on prices."""
    after = whole(query.get("sinceTransactionID", ""), "sinceTransactionID")
    if after > len(book.log):
        raise invalid("sinceTransactionID")
    # The log may reach back far, but orders and trades that ended are never dropped from the account.
    entries = book.log[after:]
    fills = [entry for entry in entries if entry["type"] == "ORDER_FILL"]
    created = [entry["id"] for entry in entries if entry["type"] in _ORDER_TYPES]
    cancelled = [entry["orderID"] for entry in entries if entry["type"] == "ORDER_CANCEL"]
    opened = [entry["tradeOpened"]["tradeID"] for entry in fills if "tradeOpened" in entry]
    reduced = [entry["tradeReduced"]["tradeID"] for entry in fills if "tradeReduced" in entry]
    closed = [part["tradeID"] for entry in fills for part in entry.get("tradesClosed", ())]
    return {
        "changes": {
            "ordersCreated": _orders(book, created),
            "ordersCancelled": _orders(book, cancelled),
            "ordersFilled": _orders(book, [entry["orderID"] for entry in fills]),
            # The log does not tell a triggered order from one that filled at once.
            "ordersTriggered": [],
            "tradesOpened": _trades(book, opened, prices),
            "tradesReduced": _trades(book, reduced, prices),
            "tradesClosed": _trades(book, closed, prices),
            "positions": [
                payloads.position(name, book, prices) for name in sorted({entry["instrument"] for entry in fills})
            ],
            "transactions": entries,
        },
        "state": payloads.state(book, prices),
    }


def _orders(book: AccountBook, ids: Iterable[str]) -> list[dict[str, Any]]:
    return [payloads.order(book.orders[item]) for item in dict.fromkeys(ids)]


def _trades(book: AccountBook, ids: Iterable[str], prices: Prices) -> list[dict[str, Any]]:
    return [payloads.trade_summary(book.trades[item], book, prices) for item in dict.fromkeys(ids)]
