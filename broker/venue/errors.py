"""Faults between the broker and the venue: what each proves, and what becomes of the order or the read that met it.

`rest/answer.py` says which answer is which error; the attributes of the classes say what follows from it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any


class OrderDeed(StrEnum):
    """Fates of an order whose request failed."""

    REJECT = "rejected, with the venue's reason"
    DENY = "denied: the venue has not acted on it"
    SEARCH = "unknown: looked for in the venue's log, and never sent again"
    CONFIRM = "unknown: rejected once two whole scans of the venue's log have not found it"


class VenueError(Exception):
    """A failed request."""

    error_type = "venue"
    proves = "nothing left this machine"
    deed = OrderDeed.DENY
    is_repeated = False
    """True where another attempt of a read may succeed at once; a write is never repeated."""
    is_failure: bool | None = True
    """True counts against the venue in the circuit breaker, False for it; None says nothing of the venue."""
    shows_venue = False
    """True where only a working venue says this."""

    def __init__(
        self,
        message: str,
        *,
        operation: str = "",
        status: int | None = None,
        request_id: str | None = None,
        body: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.operation = operation
        self.status = status
        self.request_id = request_id
        self.body = body or {}
        self.retry_after_s = 0.0

    @property
    def outcome_known(self) -> bool:
        """True where the venue certainly did not act on the request."""
        return self.deed in {OrderDeed.REJECT, OrderDeed.DENY}


class NotSentError(VenueError):
    """No connection: nothing left this machine. The network is at fault, or the venue is down."""

    error_type = "not_sent"
    is_repeated = True


class WithheldError(NotSentError):
    """The caller's send guard withheld the request when its turn came; the text is the guard's reason."""

    error_type = "withheld"
    is_failure = None


class MarketDataBusyError(NotSentError):
    """Too many callers wait for market data: this one was not let in."""

    error_type = "busy"


class AnswerLostError(VenueError):
    """No usable answer to a request that went out: time-out, reset, half a body. The outcome is unknown."""

    error_type = "answer_lost"
    proves = "nothing: the venue may have acted, and nobody says so"
    deed = OrderDeed.SEARCH
    is_repeated = True


class VenueFailedError(AnswerLostError):
    """An answer of 5xx, in JSON or HTML, or of a venue that gave up waiting."""

    # Seen with orders that did execute: never a proof that nothing happened.
    error_type = "venue_failed"


class ForeignAnswerError(AnswerLostError):
    """An answer that the venue has not written: a proxy's or gateway's refusal, a redirect. It is not followed."""

    # A gateway may refuse before it asks the venue or after, and its 404 is not the venue's word on an order.
    error_type = "foreign_answer"
    proves = "nothing: something in front of the venue answers, and the venue has said nothing"


class RateLimitedError(VenueError):
    """An answer of 429."""

    # The development guide says only that excess requests "receive 429", not that they have no effect: an order is
    # still looked for in the venue's log.
    error_type = "rate_limited"
    proves = "the rate limit is used up; the venue has hardly acted, and does not promise that"
    deed = OrderDeed.CONFIRM
    is_repeated = True
    is_failure = None
    shows_venue = True


class NotAuthorizedError(VenueError):
    """The venue's own answer of 401 or 403: a dead token, or one of the other environment."""

    error_type = "not_authorized"
    proves = "the token is dead, or of the other environment; the venue has not acted"
    is_failure = None  # our fault


class VenueRefusedError(VenueError):
    """A refusal of a request that the venue understood (400, 404, 405, 416); `body` has its reasons."""

    error_type = "refused"
    proves = "the venue understood the request and has not acted"
    deed = OrderDeed.REJECT
    is_failure = False
    shows_venue = True


class UnreadableAnswerError(AnswerLostError):
    """A 2xx with a body that the venue does not document."""

    error_type = "unreadable"
