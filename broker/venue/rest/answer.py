"""HTTP answers of the venue and of what stands before it: a JSON body, or the error that the answer stands for.

One table decides which error that is. Its classes (`venue/errors.py`) say what the answer proves and what follows.
The venue's refusals are JSON objects with words of its own; a proxy, a gateway or a wall of the site answers without
them, and knows nothing of the order. The body tells the two apart, not the content type, which gateways set freely.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, TypeVar

from broker.venue import errors
from broker.venue.v20.wire_json import read_json

T_co = TypeVar("T_co", covariant=True)

MAX_WORDS = 300
"""Characters of the venue's text that an error keeps."""
RETRY_AFTER_S = 1.0
"""Pause after a 429 without Retry-After; the venue counts requests a second."""
MAX_RETRY_AFTER_S = 60.0


VENUE_FIELDS = frozenset({"errorMessage", "errorCode", "lastTransactionID"})
"""Fields of which every refusal of the venue has one (v20, the responses of each endpoint)."""


class AnswerSpeaker(StrEnum):
    """Party that answered, told by the body: the venue's is a JSON object with one of VENUE_FIELDS."""

    VENUE = "the venue"
    FRONT = "something in front of it"


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueAnswerRow:
    """Meaning of the statuses `lowest` to `highest` from one of `speakers`."""

    speakers: frozenset[AnswerSpeaker]
    lowest: int
    highest: int
    error: type[errors.VenueError]

    def fits(self, speaker: AnswerSpeaker, status: int) -> bool:
        """Return True if an answer is of this row."""
        return speaker in self.speakers and self.lowest <= status <= self.highest


def _row(lowest: int, highest: int, error: type[errors.VenueError], *speakers: AnswerSpeaker) -> VenueAnswerRow:
    said_by = frozenset(speakers or AnswerSpeaker)
    return VenueAnswerRow(speakers=said_by, lowest=lowest, highest=highest, error=error)


_VENUE, _FRONT = AnswerSpeaker.VENUE, AnswerSpeaker.FRONT
ROWS: tuple[VenueAnswerRow, ...] = (
    # Read in place of the body that was asked for: a page of HTML, an empty body, JSON that is no object.
    _row(100, 299, errors.UnreadableAnswerError),
    _row(300, 399, errors.ForeignAnswerError),
    _row(401, 401, errors.NotAuthorizedError, _VENUE),
    _row(403, 403, errors.NotAuthorizedError, _VENUE),
    _row(408, 408, errors.VenueFailedError, _VENUE),
    _row(429, 429, errors.RateLimitedError),
    _row(400, 499, errors.VenueRefusedError, _VENUE),
    _row(400, 499, errors.ForeignAnswerError, _FRONT),
    _row(500, 999, errors.VenueFailedError),
)
"""First row that fits counts. The rows are about answers that do not have the body that was asked for."""


def judge(status: int, body: dict[str, Any] | None) -> VenueAnswerRow:
    """Return the row of an answer without what was asked for; `body` is its JSON object, if it has one."""
    speaker = _VENUE if body is not None and not VENUE_FIELDS.isdisjoint(body) else _FRONT
    return next(row for row in ROWS if row.fits(speaker, status))


class ReadAnswer(Protocol[T_co]):
    """Reads an answer; raises VenueError if it is not one of the kind that is wanted."""

    def __call__(self, operation: str, status: int, headers: Mapping[str, str], text: bytes, /) -> T_co:
        """Return the content."""


def read_text(operation: str, status: int, headers: Mapping[str, str], text: bytes) -> bytes:
    """Return the body of a 2xx as it came. Raises VenueError: any other answer."""
    if 200 <= status < 300:  # noqa: PLR2004 - RFC 9110
        return text
    raise _error(operation, status, headers, text, json_object(text))


def read_answer(operation: str, status: int, headers: Mapping[str, str], text: bytes) -> dict[str, Any]:
    """Return the body of a 2xx; names of headers are in lower case.

    Raises VenueError: any other answer, and a 2xx that is no JSON object.
    """
    body = json_object(text)
    if body is not None and 200 <= status < 300:  # noqa: PLR2004 - RFC 9110
        return body
    raise _error(operation, status, headers, text, body)


def _error(
    operation: str, status: int, headers: Mapping[str, str], text: bytes, body: dict[str, Any] | None
) -> errors.VenueError:
    kind = judge(status, body).error
    words = _words(status, text, body, kind)
    error = kind(words, operation=operation, status=status, request_id=headers.get("requestid"), body=body)
    error.retry_after_s = retry_after(headers.get("retry-after"))
    return error


def _words(status: int, text: bytes, body: dict[str, Any] | None, error: type[errors.VenueError]) -> str:
    # The message, not the body: a gateway's page of HTML helps nobody, and an echo of the request may hold a secret.
    if body is not None and (message := body.get("errorMessage")):
        return str(message)[:MAX_WORDS]
    shape = f"HTTP {status} with {len(text)} bytes"
    if error is errors.UnreadableAnswerError:
        return f"{shape} that are no JSON object"
    return f"{shape} that are not the venue's own" if error is errors.ForeignAnswerError else shape


def json_object(text: bytes) -> dict[str, Any] | None:
    """Return the JSON object that a body is; None where it is anything else."""
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
