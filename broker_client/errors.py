"""Answers of the order API that are errors, as exceptions."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from broker_client.models import OrderView, ProblemView

_PREFIX = "urn:broker:problem:"


class OrderApiError(Exception):
    """An error of the order API; its subclasses say which."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        problem: ProblemView | None = None,
        retry_after_s: float | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        """HTTP status; 0 if there was no answer."""
        self.problem = problem
        """The answer's body; None if it was no `application/problem+json`, as of a proxy."""
        self.retry_after_s = retry_after_s
        self.idempotency_key = idempotency_key
        """The key that was sent. Send the request again with it: the same key is never a second order."""

    @property
    def kind(self) -> str | None:
        """Stable name of the kind of error, such as `order-denied`."""
        return self.problem.type.removeprefix(_PREFIX) if self.problem else None

    @property
    def reason(self) -> str | None:
        """Constant name of the cause, such as `UNITS_LIMIT_EXCEEDED`."""
        return self.problem.reason if self.problem else None

    @property
    def order(self) -> OrderView | None:
        """The order that was refused, or not cancelled."""
        return self.problem.order if self.problem else None


class InvalidRequestError(OrderApiError):
    """400, 413, 422: the request is wrong; `problem.errors` names each field. The broker made no order."""


class OrderRefusedError(OrderApiError):
    """422: the broker denied the order, or the venue rejected it. Nothing was traded; `reason` and `order` say more."""


class NotPermittedError(OrderApiError):
    """401, 403: the key is missing, unknown or lacks a scope, or the order belongs to another key."""


class NotFoundError(OrderApiError):
    """404: there is no such order, position, trade or address."""


class ConflictError(OrderApiError):
    """409: the key was used for something else, the order has ended otherwise, or another broker trades the account."""


class TooManyRequestsError(OrderApiError):
    """429: more requests than the key may send, also after retries."""


class UnavailableError(OrderApiError):
    """502, 503, 504: the broker or the venue cannot do it now, also after retries."""


class NoAnswerError(OrderApiError):
    """No answer, or none that can be read, also after retries: the result is not known."""


_KINDS: Mapping[str | None, type[OrderApiError]] = {
    "order-denied": OrderRefusedError,
    "order-rejected": OrderRefusedError,
}
_STATUSES: Mapping[int, type[OrderApiError]] = {
    400: InvalidRequestError,
    401: NotPermittedError,
    403: NotPermittedError,
    404: NotFoundError,
    409: ConflictError,
    413: InvalidRequestError,
    422: InvalidRequestError,
    429: TooManyRequestsError,
    502: UnavailableError,
    503: UnavailableError,
    504: UnavailableError,
}


def error_of(status: int, retry_after: str | None, body: bytes, idempotency_key: str | None = None) -> OrderApiError:
    """The exception for an answer with an error's status."""
    try:
        problem = msgspec.json.decode(body, type=ProblemView)
    except (msgspec.DecodeError, UnicodeDecodeError):
        problem = None
    kind = problem.type.removeprefix(_PREFIX) if problem else None
    made = _KINDS.get(kind) or _STATUSES.get(status, OrderApiError)
    message = f"{status} {problem.detail}" if problem else f"{status}, without a description of the error"
    # RFC 9110 lets Retry-After be a date too; the broker sends seconds, and a proxy's date is left aside.
    seconds = float(retry_after) if retry_after and retry_after.isascii() and retry_after.isdecimal() else None
    return made(message, status=status, problem=problem, retry_after_s=seconds, idempotency_key=idempotency_key)
