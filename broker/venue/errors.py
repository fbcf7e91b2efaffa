"""Faults between the broker and the venue: each says whose it is and whether the outcome is known."""

from __future__ import annotations

from typing import Any


class VenueError(Exception):
    """A failed request. `outcome_known` is True where the venue certainly did not act on it."""

    error_type = "venue"
    outcome_known = True

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


class NotSentError(VenueError):
    """No connection: nothing left this machine. The network is at fault, or the venue is down."""

    error_type = "not_sent"


class WithheldError(NotSentError):
    """The caller's send guard withheld the request when its turn came; the text is the guard's reason."""

    error_type = "withheld"


class MarketDataBusyError(NotSentError):
    """Too many callers wait for market data: this one was not let in."""

    error_type = "busy"


class AnswerLostError(VenueError):
    """No usable answer to a request that went out: time-out, reset, half a body. The outcome is unknown."""

    error_type = "answer_lost"
    outcome_known = False


class VenueFailedError(AnswerLostError):
    """An answer of 5xx, in JSON or HTML."""

    # Seen with orders that did execute: never a proof that nothing happened.
    error_type = "venue_failed"


class RateLimitedError(VenueError):
    """An answer of 429."""

    # The development guide says only that excess requests "receive 429", not that they have no effect: an order is
    # still looked for in the venue's log.
    error_type = "rate_limited"
    outcome_known = False


class NotAuthorizedError(VenueError):
    """An answer of 401 or 403: a dead token, or one of the other environment."""

    error_type = "not_authorized"


class VenueRefusedError(VenueError):
    """A refusal of a request that the venue understood (400, 404, 405, 416); `body` has its reasons."""

    error_type = "refused"


class UnreadableAnswerError(AnswerLostError):
    """A 2xx with a body that the venue does not document."""

    error_type = "unreadable"
