from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.venue import errors
from broker.venue.rest.answer import ROWS, VENUE_FIELDS, AnswerSpeaker, json_object, judge, read_answer, retry_after

OBJECTS = st.dictionaries(st.sampled_from([*sorted(VENUE_FIELDS), "message", "error"]), st.text(max_size=9), max_size=3)
BODIES = st.one_of(
    OBJECTS.map(lambda tree: json.dumps(tree).encode()),
    OBJECTS.map(lambda tree: json.dumps(tree).encode()[:-1]),
    st.just(b"<html>Bad gateway</html>"),
    st.binary(max_size=30),
)


@pytest.mark.parametrize(
    ("status", "text", "kind", "known"),
    [
        (400, b'{"errorCode": "X", "errorMessage": "no"}', errors.VenueRefusedError, True),
        (404, b'{"errorCode": "NO_SUCH_ORDER"}', errors.VenueRefusedError, True),
        (416, b'{"lastTransactionID": "7"}', errors.VenueRefusedError, True),
        (404, b"{}", errors.ForeignAnswerError, False),
        (404, b"<html>no such site</html>", errors.ForeignAnswerError, False),
        (400, b"", errors.ForeignAnswerError, False),
        (400, b'{"errorMessage": "cut', errors.ForeignAnswerError, False),
        (407, b'{"message": "proxy"}', errors.ForeignAnswerError, False),
        (413, b"<html>too large</html>", errors.ForeignAnswerError, False),
        (408, b'{"errorMessage": "gave up"}', errors.VenueFailedError, False),
        (401, b'{"errorMessage": "Insufficient authorization"}', errors.NotAuthorizedError, True),
        (403, b'{"errorMessage": "The provided request was forbidden."}', errors.NotAuthorizedError, True),
        (403, b"", errors.ForeignAnswerError, False),
        (401, b"<html>Sign in</html>", errors.ForeignAnswerError, False),
        (429, b"", errors.RateLimitedError, False),
        (500, b"{}", errors.VenueFailedError, False),
        (503, b"<html><body>Maintenance</body></html>", errors.VenueFailedError, False),
        (504, b'{"errorMessage": "Timeout waiting for response."}', errors.VenueFailedError, False),
        (200, b"<html></html>", errors.UnreadableAnswerError, False),
        (201, b"[]", errors.UnreadableAnswerError, False),
        (302, b"{}", errors.ForeignAnswerError, False),
        (307, b'{"errorMessage": "moved"}', errors.ForeignAnswerError, False),
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


@given(st.integers(100, 999), BODIES)
def test_every_answer_has_one_row_that_decides(status: int, text: bytes) -> None:
    body = json_object(text)
    is_venue = body is not None and any(name in body for name in VENUE_FIELDS)
    speaker = AnswerSpeaker.VENUE if is_venue else AnswerSpeaker.FRONT
    row = judge(status, body)
    assert row is next(item for item in ROWS if item.fits(speaker, status))
    if body is None or not 200 <= status < 300:
        with pytest.raises(errors.VenueError) as caught:
            read_answer("create_order", status, {}, text)
        assert type(caught.value) is row.error


def test_only_the_venues_own_word_rejects_an_order_or_marks_the_token() -> None:
    final = {errors.OrderDeed.REJECT, errors.OrderDeed.DENY}
    speakers = {speaker for row in ROWS if row.error.deed in final for speaker in row.speakers}
    assert speakers == {AnswerSpeaker.VENUE}


def test_words_of_a_page_are_not_kept() -> None:
    with pytest.raises(errors.ForeignAnswerError, match=r"^HTTP 404 with 25 bytes that are not the venue's own$"):
        read_answer("order", 404, {}, b"<html>no such site</html>")
