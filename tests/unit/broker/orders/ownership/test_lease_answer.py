"""What each answer about the Lease proves, and what follows from it."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.orders.ownership.lease_answer import (
    DEEDS,
    ROWS,
    ApiSpeaker,
    LeaseDeed,
    LeaseProof,
    LeaseRequest,
    deed_of,
    judge,
    response_of,
    retry_after_s,
)

REFUSAL = json.dumps({"kind": "Status", "apiVersion": "v1", "status": "Failure"}).encode()
PAGE = b"<html>Bad gateway</html>"
BODIES = st.one_of(
    st.just(REFUSAL),
    st.just(REFUSAL[:-3]),
    st.just(PAGE),
    st.binary(max_size=40),
    st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3).map(lambda tree: json.dumps(tree).encode()),
)


class AnsweredError(Exception):
    """An error with a response, as the client raises it."""

    def __init__(self, status: int, body: bytes, **headers: str) -> None:
        super().__init__(str(status))
        self.response = SimpleNamespace(status_code=status, content=body, headers=headers)


@pytest.mark.parametrize(
    ("status", "body", "proof"),
    [
        (404, REFUSAL, LeaseProof.ABSENT),
        (404, PAGE, LeaseProof.NOTHING),
        (404, b"404 page not found\n", LeaseProof.NOTHING),
        (409, REFUSAL, LeaseProof.CHANGED),
        (409, b"", LeaseProof.NOTHING),
        (410, REFUSAL, LeaseProof.NOT_DONE),
        (429, REFUSAL, LeaseProof.NOT_DONE),
        (429, PAGE, LeaseProof.NOT_DONE),
        (400, REFUSAL, LeaseProof.REFUSED),
        (401, REFUSAL, LeaseProof.REFUSED),
        (403, REFUSAL, LeaseProof.REFUSED),
        (403, PAGE, LeaseProof.NOTHING),
        (422, REFUSAL, LeaseProof.REFUSED),
        (408, REFUSAL, LeaseProof.NOTHING),
        (500, REFUSAL, LeaseProof.NOTHING),
        (504, REFUSAL, LeaseProof.NOTHING),
        (502, PAGE, LeaseProof.NOTHING),
        (302, b"", LeaseProof.NOTHING),
        (200, PAGE, LeaseProof.NOTHING),
        (200, b"", LeaseProof.NOTHING),
    ],
)
def test_an_answer_proves_no_more_than_its_speaker_can_know(status: int, body: bytes, proof: LeaseProof) -> None:
    assert judge(status, body).proof is proof


@given(st.integers(100, 999), BODIES)
def test_every_answer_has_one_row_that_decides(status: int, body: bytes) -> None:
    row = judge(status, body)
    speaker = ApiSpeaker.API_SERVER if body == REFUSAL else ApiSpeaker.FRONT
    assert row is next(item for item in ROWS if item.fits(speaker, status))
    assert deed_of(AnsweredError(status, body), LeaseRequest.RENEW) is DEEDS[row.proof, LeaseRequest.RENEW]


def test_only_the_api_servers_word_ends_or_frees_anything() -> None:
    moving = {LeaseDeed.FREE, LeaseDeed.MAKE, LeaseDeed.LOOK}
    proofs = {proof for (proof, _), deed in DEEDS.items() if deed in moving}
    assert proofs == {LeaseProof.ABSENT, LeaseProof.CHANGED}
    assert all(row.speakers == {ApiSpeaker.API_SERVER} for row in ROWS if row.proof in proofs)


def test_an_error_without_an_answer_proves_nothing() -> None:
    assert deed_of(TimeoutError(), LeaseRequest.RENEW) is LeaseDeed.KEEP


def test_the_answer_is_found_behind_the_clients_own_fault() -> None:
    fault = KeyError("Content-Type")
    fault.__context__ = AnsweredError(409, REFUSAL)
    assert response_of(fault).status_code == 409


@pytest.mark.parametrize(("text", "seconds"), [("7", 7.0), ("86400", 60.0), ("-1", 0.0), ("soon", 0.0), ("", 0.0)])
def test_retry_after_is_bounded(text: str, seconds: float) -> None:
    assert retry_after_s(AnsweredError(429, REFUSAL, **{"retry-after": text})) == seconds
