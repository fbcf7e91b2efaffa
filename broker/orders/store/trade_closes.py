"""Closes of trades in the venue's log, until it is known whose order each of them is.

The venue takes no client id when a trade is closed (v20, PUT trades/{id}/close), and the fill of such an order has none
either. Besides the answer only the trade and the units lead from the log to an order of ours. Two orders of ours may
close the same trade at once, and another program may, too. So the transactions of such a close wait here:

    an order that fits may still be answered     they wait: the answer names its transactions
    one that fits is UNKNOWN                     they wait for its search, which reads the log from its checkpoint on
    none of those that fit will be answered      they are of the newest one: a close is made right behind its sending
    no order fits                                another program closed the trade

Two orders that close the same trade by the same units and lost their answers look alike: one may stand for the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from broker.domain import OrderStatus
from broker.orders.model.lifecycle import OrderRecord, may_be_close
from broker.venue.v20.transactions import Transaction

UnderWay = Callable[[str], list[OrderRecord]]
"""Our orders that close a trade and whose transactions are not known."""


class UnclaimedCloses:
    """Transactions of closes, by the venue's order. Bounded by the closes under way: what fits none is not held."""

    def __init__(self) -> None:
        self._held: dict[str, list[Transaction]] = {}

    def take(self, transaction: Transaction, under_way: UnderWay) -> bool:
        """Hold what may be of an order under way, or of an order that is held; False for any other."""
        held = self._held.get(transaction.about_order)
        if held is None:
            trade = transaction.closes_trade
            if trade is None or not any(may_be_close(record, transaction) for record in under_way(trade)):
                return False
            held = self._held[transaction.about_order] = []
        # The scans and the stream bring the same one.
        if all(item.id != transaction.id for item in held):
            held.append(transaction)
            # The creation first, which says what was asked: a scan can bring it behind the stream's fill.
            held.sort(key=lambda item: item.id)
        return True

    def claim(self, transactions: Iterable[Transaction]) -> tuple[Transaction, ...]:
        """Take out what is held of the orders that an answer names."""
        names = dict.fromkeys(item.about_order for item in transactions)
        return tuple(item for name in names for item in self._held.pop(name, ()))

    def settle(
        self, under_way: UnderWay, *, searched_to: int
    ) -> tuple[OrderRecord | None, tuple[Transaction, ...]] | None:
        """Take out an order of the venue's that can be told: ours, or None for another's. None if all wait.

        `searched_to`: id up to which a search has read the log, 0 for none.
        """
        # What was made before what was refused: an order of ours that has traded must not be told as refused.
        for name, held in sorted(self._held.items(), key=lambda item: (item[1][0].is_reject, item[1][0].id)):
            fits = [item for item in under_way(held[0].closes_trade or "") if may_be_close(item, held[0])]
            waits = {OrderStatus.SUBMITTED} | ({OrderStatus.UNKNOWN} if held[-1].id > searched_to else set())
            if any(item.status in waits for item in fits):
                continue
            owner = max(fits, key=lambda record: (record.checkpoint, record.id), default=None)
            return owner, tuple(self._held.pop(name))
        return None
