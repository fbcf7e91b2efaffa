"""What can go wrong between us and the venue: whose fault it is, and whether the outcome is known."""

from __future__ import annotations

from typing import Any


class VenueError(Exception):
    """A request failed. `outcome_known` says whether the venue certainly did not act on it."""

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
    """No connection: nothing left this machine. The network's fault, or the venue is down."""

    error_type = "not_sent"


class WithheldError(NotSentError):
    """The caller changed its mind while the request waited its turn; the text is its reason."""

    error_type = "withheld"


class AnswerLostError(VenueError):
    """The request went out and no usable answer came: time-out, reset, half a body. The outcome is unknown."""

    error_type = "answer_lost"
    outcome_known = False


class VenueFailedError(AnswerLostError):
    """The venue answered 5xx, in JSON or HTML; seen with orders that did execute."""

    error_type = "venue_failed"


class RateLimitedError(VenueError):
    """The venue answered 429.

    The guide says only that excess requests "receive 429", so an order is still looked for in the log.
    """

    error_type = "rate_limited"
    outcome_known = False


class NotAuthorizedError(VenueError):
    """The venue answered 401 or 403: a dead token, or one of the other environment."""

    error_type = "not_authorized"


class RefusedError(VenueError):
    """The venue understood and refused (400, 404, 405, 416); `body` has its reasons."""

    error_type = "refused"


class UnreadableAnswerError(AnswerLostError):
    """A 2xx whose body is not what the venue documents."""

    error_type = "unreadable"
