"""HTTP answers of the venue: a JSON body, or the error that the answer stands for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

from broker.venue import errors
from broker.venue.v20.wire_json import read_json

T_co = TypeVar("T_co", covariant=True)

MAX_WORDS = 300
"""Characters of the venue's text that an error keeps."""
RETRY_AFTER_S = 1.0
"""Pause after a 429 without Retry-After; the venue counts requests a second."""
MAX_RETRY_AFTER_S = 60.0


class ReadAnswer(Protocol[T_co]):
    """Reads an answer; raises VenueError if it is not one of the kind that is wanted."""

    def __call__(self, operation: str, status: int, headers: Mapping[str, str], text: bytes, /) -> T_co:
        """Return the content."""


def read_text(operation: str, status: int, headers: Mapping[str, str], text: bytes) -> bytes:
    """Return the body of a 2xx as it came. Raises VenueError: any other answer."""
    if 200 <= status < 300:  # noqa: PLR2004 - RFC 9110
        return text
    raise _error(operation, status, headers, text, _object(text))


def read_answer(operation: str, status: int, headers: Mapping[str, str], text: bytes) -> dict[str, Any]:
    """Return the body of a 2xx; names of headers are in lower case.

    Raises VenueError: any other answer, and a 2xx that is no JSON object.
    """
    body = _object(text)
    if body is not None and 200 <= status < 300:  # noqa: PLR2004 - RFC 9110
        return body
    raise _error(operation, status, headers, text, body)


def _error(
    operation: str, status: int, headers: Mapping[str, str], text: bytes, body: dict[str, Any] | None
) -> errors.VenueError:
    kind, words = _fault(status, text, body)
    error = kind(words, operation=operation, status=status, request_id=headers.get("requestid"), body=body)
    error.retry_after_s = retry_after(headers.get("retry-after"))
    return error


def _fault(status: int, text: bytes, body: dict[str, Any] | None) -> tuple[type[errors.VenueError], str]:
    # The message, not the body: a gateway's page of HTML helps nobody, and an echo of the request may hold a secret.
    words = str((body or {}).get("errorMessage") or f"HTTP {status} with {len(text)} bytes")[:MAX_WORDS]
    match status:
        case 401 | 403:
            return errors.NotAuthorizedError, words
        case 429:
            return errors.RateLimitedError, words
        case _ if status >= 500:  # noqa: PLR2004 - RFC 9110
            return errors.VenueFailedError, words
        case _ if status >= 400:  # noqa: PLR2004 - RFC 9110
            return errors.VenueRefusedError, words
        case _:
            return errors.UnreadableAnswerError, f"HTTP {status} with {len(text)} bytes that are no JSON object"


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        body = read_json(text)
    except ValueError:
        return None  # the venue's gateways answer 5xx in HTML
    return body if isinstance(body, dict) else None


def retry_after(text: str | None) -> float:
    """Seconds that a Retry-After header asks for, at most a minute; a date or nonsense counts as absent."""
    try:
        # Bounded: a gateway that asks for an hour must not keep cancels back that long.
        return min(MAX_RETRY_AFTER_S, max(0.0, float(text or RETRY_AFTER_S)))
    except ValueError:
        return RETRY_AFTER_S
