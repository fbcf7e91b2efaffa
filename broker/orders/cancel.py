"""Cancelling a resting order: asked until the venue has answered, for twice is once."""

from __future__ import annotations

from broker.domain import OrderStatus
from broker.orders.model.order_record import Entry
from broker.orders.store.order_store import Keeper
from broker.orders.submission import Sender
from broker.venue.errors import VenueError, VenueRefusedError
from broker.venue.rest.rate_limit import Precedence
from broker.venue.streams.transaction_feed import TransactionFeed
from broker.venue.v20 import order_requests as order_call
from broker.venue.v20.parse import parse_answer

TRIES = 3


async def cancel(entry: Entry, keeper: Keeper, feed: TransactionFeed, sender: Sender) -> Entry:
    """The entry as it stands after the venue was asked to cancel it: it may have been filled before.

    Raises:
        VenueError: no attempt was answered.
    """
    for attempt in range(TRIES):
        if entry.status is not OrderStatus.PENDING or entry.order.venue_order_id is None:
            return entry
        try:
            answer = await sender.submit(order_call.cancel(entry.order.venue_order_id), Precedence.CANCEL)
            keeper.fold(entry.id, answer.transactions)
        except VenueRefusedError as error:
            feed.note(parse_answer(error.body).last_transaction_id)
            await feed.fill()  # it ended before the cancel came: the log says how
        except VenueError:
            if attempt == TRIES - 1:
                raise
            await feed.fill()
        entry = keeper.register.get(entry.id) or entry
    return entry
