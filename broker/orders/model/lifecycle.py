"""Life cycle of an order: the one table of events and statuses. A move that is not in it cannot happen."""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType

from broker.domain import OrderStatus as S


class OrderEvent(StrEnum):
    """Events of an order."""

    DENY = "deny"
    """Refused on our side; nothing was sent."""
    SUBMIT = "submit"
    """The intent is in the journal."""
    NOT_SENT = "not_sent"
    """No connection could be made: the venue certainly received nothing."""
    ACCEPT = "accept"
    """The venue made the order."""
    FILL = "fill"
    """The order traded."""
    CANCEL = "cancel"
    """The venue ended the order, or its rest."""
    REJECT = "reject"
    """The venue refused the order."""
    LOSE = "lose"
    """No usable answer came, or the process ended before one came."""
    GIVE_UP = "give_up"
    """Scans up to the horizon did not find it."""


E = OrderEvent

TABLE = MappingProxyType(
    {
        (S.RECEIVED, E.DENY): S.DENIED,
        (S.RECEIVED, E.SUBMIT): S.SUBMITTED,
        (S.SUBMITTED, E.NOT_SENT): S.DENIED,
        (S.SUBMITTED, E.ACCEPT): S.PENDING,
        (S.SUBMITTED, E.FILL): S.FILLED,
        (S.SUBMITTED, E.CANCEL): S.CANCELLED,
        (S.SUBMITTED, E.REJECT): S.REJECTED,
        (S.SUBMITTED, E.LOSE): S.UNKNOWN,
        (S.UNKNOWN, E.ACCEPT): S.PENDING,
        (S.UNKNOWN, E.FILL): S.FILLED,
        (S.UNKNOWN, E.CANCEL): S.CANCELLED,
        (S.UNKNOWN, E.REJECT): S.REJECTED,
        (S.UNKNOWN, E.GIVE_UP): S.PRESUMED_ABSENT,
        (S.PRESUMED_ABSENT, E.ACCEPT): S.PENDING,
        (S.PRESUMED_ABSENT, E.FILL): S.FILLED,
        (S.PRESUMED_ABSENT, E.CANCEL): S.CANCELLED,
        (S.PRESUMED_ABSENT, E.REJECT): S.REJECTED,
        (S.PENDING, E.FILL): S.FILLED,
        (S.PENDING, E.CANCEL): S.CANCELLED,
        # One order can trade in several transactions, and the venue can cancel its rest: it has traded all the same.
        (S.FILLED, E.FILL): S.FILLED,
        (S.FILLED, E.CANCEL): S.FILLED,
    }
)


def after(status: S, event: OrderEvent) -> S | None:
    """The status that follows, or None if the event does not apply: it is late, or a repetition."""
    return TABLE.get((status, event))
