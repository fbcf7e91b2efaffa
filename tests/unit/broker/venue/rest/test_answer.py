from __future__ import annotations

import pytest

from broker.venue import errors
from broker.venue.rest.answer import read_answer, retry_after


@pytest.mark.parametrize(
    ("status", "text", "kind", "known"),
    [
        (400, b'{"errorCode": "X", "errorMessage": "no"}', errors.VenueRefusedError, True),
        (404, b"{}", errors.VenueRefusedError, True),
        (401, b'{"errorMessage": "Insufficient authorization"}', errors.NotAuthorizedError, True),
        (403, b"", errors.NotAuthorizedError, True),
        (429, b"", errors.RateLimitedError, False),
        (500, b"{}", errors.VenueFailedError, False),
        (503, b"<html><body>Maintenance</body></html>", errors.VenueFailedError, False),
        (504, b'{"errorMessage": "Timeout waiting for response."}', errors.VenueFailedError, False),
        (200, b"<html></html>", errors.UnreadableAnswerError, False),
        (201, b"[]", errors.UnreadableAnswerError, False),
        (302, b"{}", errors.UnreadableAnswerError, False),
    ],
)
def test_answers_say_whether_the_outcome_is_known(
    status: int, text: bytes, kind: type[errors.VenueError], known: bool
) -> None:
    with pytest.raises(kind) as caught:
        read_answer("create_order", status, {"requestid": "r1"}, text)
    assert (caught.value.outcome_known, caught.value.status, caught.value.request_id) == (known, status, "r1")


def test_refusal_keeps_its_body() -> None:
    with pytest.raises(errors.VenueRefusedError, match="too many") as caught:
        read_answer("create_order", 400, {}, b'{"errorMessage": "too many", "errorCode": "UNITS_LIMIT_EXCEEDED"}')
    assert caught.value.body["errorCode"] == "UNITS_LIMIT_EXCEEDED"


def test_2xx_object_is_the_body() -> None:
    assert read_answer("pricing", 200, {}, b'{"prices": []}') == {"prices": []}


@pytest.mark.parametrize(
    ("text", "expected"),
    [(None, 1.0), ("0.5", 0.5), ("86400", 60.0), ("-1", 0.0), ("Wed, 21 Oct 2026 07:28:00 GMT", 1.0)],
)
def test_retry_after_is_bounded(text: str | None, expected: float) -> None:
    assert retry_after(text) == expected
