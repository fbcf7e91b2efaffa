"""Reads of an account's log: by id, by range, by type, in pages, and as changes since a transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from broker.simulator.account import payloads
from broker.simulator.account.book import AccountBook, TransactionPayload
from broker.simulator.clock import parse_ns
from broker.simulator.v20.answers import RefusalError, absent, invalid, size, whole
from broker.simulator.v20.order_requests import DEPENDENT_TYPES, ENTRY_TYPES

Query = Mapping[str, str]
DEFAULT_PAGE = 100
LARGEST_PAGE = 1000
_ORDER_TYPES = tuple(f"{name}_ORDER" for name in (*ENTRY_TYPES, *DEPENDENT_TYPES))
_ORDER_REJECTS = tuple(f"{name}_REJECT" for name in _ORDER_TYPES)
_GROUPS = {
    "ORDER": {*_ORDER_TYPES, *_ORDER_REJECTS, "ORDER_FILL", "ORDER_CANCEL", "ORDER_CANCEL_REJECT"},
    "FUNDING": {"TRANSFER_FUNDS", "TRANSFER_FUNDS_REJECT"},
    "ADMIN": {"CREATE", "CLOSE", "REOPEN", "CLIENT_CONFIGURE", "CLIENT_CONFIGURE_REJECT"},
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
        raise RefusalError(416, {"errorMessage": "The specified range is not satisfiable"})
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
    page = size(query, "pageSize", DEFAULT_PAGE, LARGEST_PAGE)
    start, end = query.get("from", log[0]["time"]), query.get("to", now)
    try:
        low, high = parse_ns(start), parse_ns(end)
    except ValueError:
        raise invalid("from") from None
    ids = [int(entry["id"]) for entry in of_types(log, query) if low <= parse_ns(entry["time"]) <= high]
    kinds = f"&type={query['type']}" if "type" in query else ""
    chunks = [ids[at : at + page] for at in range(0, len(ids), page)]
    return {
        "from": start,
        "to": end,
        "pageSize": page,
        **({"type": query["type"].split(",")} if "type" in query else {}),
        "count": len(ids),
        # Addresses, not transactions: the venue has the client fetch each page by its range of ids.
        "pages": [f"{base}/idrange?from={chunk[0]}&to={chunk[-1]}{kinds}" for chunk in chunks],
    }


def changes(book: AccountBook, query: Query) -> dict[str, Any]:
    """`changes`: orders, trades and positions changed behind a transaction, and the state that depends on prices."""
    after = whole(query.get("sinceTransactionID", ""), "sinceTransactionID")
    if after > len(book.log):
        raise invalid("sinceTransactionID")

    # The log may reach back far, but orders and trades that ended are never dropped from the account.
    def orders(ids: Iterable[str]) -> list[dict[str, Any]]:
        return [payloads.order(book.orders[item]) for item in dict.fromkeys(ids)]

    def trades(parts: Iterable[dict[str, str]]) -> list[dict[str, Any]]:
        ids = dict.fromkeys(part["tradeID"] for part in parts)
        return [payloads.trade_summary(book.trades[item], book) for item in ids]

    entries = book.log[after:]
    fills = [entry for entry in entries if entry["type"] == "ORDER_FILL"]
    ordered = [entry["orderID"] for entry in fills]
    instruments = sorted({entry["instrument"] for entry in fills})
    found = {
        "ordersCreated": orders(entry["id"] for entry in entries if entry["type"] in _ORDER_TYPES),
        "ordersCancelled": orders(entry["orderID"] for entry in entries if entry["type"] == "ORDER_CANCEL"),
        # A limit order that met too little liquidity waits on.
        "ordersFilled": orders(item for item in ordered if book.orders[item].state == "FILLED"),
        # The log does not tell a triggered order from one that filled at once.
        "ordersTriggered": [],
        "tradesOpened": trades(entry["tradeOpened"] for entry in fills if "tradeOpened" in entry),
        "tradesReduced": trades(entry["tradeReduced"] for entry in fills if "tradeReduced" in entry),
        "tradesClosed": trades(part for entry in fills for part in entry.get("tradesClosed", ())),
        "positions": [payloads.position(name, book) for name in instruments],
        "transactions": entries,
    }
    return {"changes": found, "state": payloads.state(book)}
