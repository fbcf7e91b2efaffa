"""Proof that each answer gives, and the action that follows from it."""

from __future__ import annotations

import json

import pytest

from sidecar.secrets.errors import Proof, VaultError, VaultFault
from sidecar.secrets.vault.answers import ANSWERS, DEEDS, Asked, Deed, Speaker, deed_of, judge, read_speaker
from tests.unit.sidecar.secrets.fake_vault import DEAD, FORBIDDEN, failure, foreign


def said(*errors: str) -> bytes:
    return json.dumps({"errors": errors}).encode()


@pytest.mark.parametrize(
    ("status", "body", "fault", "proof"),
    [
        (403, said(DEAD), VaultFault.DENIED, Proof.TOKEN_DEAD),
        (403, said("2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"), "denied", Proof.TOKEN_DEAD),
        (403, said(FORBIDDEN), VaultFault.DENIED, Proof.RIGHT_MISSING),
        (403, said("namespace is locked"), VaultFault.DENIED, Proof.REFUSED),
        (403, b"<html>Forbidden</html>", VaultFault.FOREIGN, Proof.NOTHING),
        (403, b'{"message": "permission denied"}', VaultFault.FOREIGN, Proof.NOTHING),
        (403, b"", VaultFault.FOREIGN, Proof.NOTHING),
        (400, said("lease not found"), VaultFault.INVALID, Proof.ID_UNKNOWN),
        (400, said("invalid lease"), VaultFault.INVALID, Proof.ID_UNKNOWN),
        (400, said("lease is not renewable"), VaultFault.INVALID, Proof.REFUSED),
        (404, said(), VaultFault.NOT_FOUND, Proof.REFUSED),
        (404, b'{"request_id": "r", "data": {"metadata": {}}}', VaultFault.NOT_FOUND, Proof.REFUSED),
        (404, b"no such host", VaultFault.FOREIGN, Proof.NOTHING),
        (429, said("request path kv is rate limited"), VaultFault.RATE_LIMITED, Proof.NOT_DONE),
        (429, b"slow down", VaultFault.RATE_LIMITED, Proof.NOT_DONE),
        (500, said("1 error occurred:\n\t* failed to create user"), VaultFault.SERVER, Proof.NOT_DONE),
        (500, said("error performing request forwarding"), VaultFault.SERVER, Proof.NOTHING),
        (500, said("context deadline exceeded"), VaultFault.SERVER, Proof.NOTHING),
        (502, b"<html>", VaultFault.SERVER, Proof.NOTHING),
        (503, said("Vault is sealed"), VaultFault.SEALED, Proof.NOT_DONE),
        (503, b"upstream connect error", VaultFault.SERVER, Proof.NOTHING),
        (307, b"", VaultFault.REDIRECT, Proof.NOT_DONE),
        (799, b"", VaultFault.SERVER, Proof.NOTHING),
    ],
)
def test_an_answer_proves_no_more_than_its_speaker_can_know(
    status: int, body: bytes, fault: VaultFault, proof: Proof
) -> None:
    row = judge(status, body)
    assert (row.fault, row.proof) == (fault, proof)


@pytest.mark.parametrize("body", [b"[]", b"null", b'"errors"', b'{"errors": "permission denied"}', b'{"errors": [1]}'])
def test_a_body_of_another_shape_is_not_the_servers(body: bytes) -> None:
    assert read_speaker(body) == (Speaker.FRONT, "")


def test_every_status_that_is_no_success_has_a_row_for_both_speakers() -> None:
    for status in range(300, 1000):
        assert {judge(status, body).speaker for body in (said("x"), b"")} == set(Speaker)


def test_a_front_never_proves_that_something_ended_or_did_not_happen() -> None:
    proofs = {row.proof for row in ANSWERS if row.speaker is Speaker.FRONT}
    assert proofs == {Proof.NOTHING, Proof.NOT_DONE}
    assert {row.lowest for row in ANSWERS if row.speaker is Speaker.FRONT and row.proof is Proof.NOT_DONE} == {300, 429}


def test_only_the_servers_word_ends_anything() -> None:
    ending = {Deed.TOKEN_LOST, Deed.ENDED, Deed.BY_ACCESSOR, Deed.STOP_RENEWING}
    proofs = {proof for (proof, _), deed in DEEDS.items() if deed in ending}
    assert proofs == {Proof.TOKEN_DEAD, Proof.ID_UNKNOWN, Proof.RIGHT_MISSING, Proof.REFUSED}
    assert {proof for (proof, _), deed in DEEDS.items() if deed is Deed.TOKEN_LOST} == {Proof.TOKEN_DEAD}
    assert {proof for (proof, _), deed in DEEDS.items() if deed is Deed.ENDED} == {Proof.ID_UNKNOWN}


@pytest.mark.parametrize(
    ("error", "asked", "deed"),
    [
        (failure(403, words=DEAD), Asked.CHECK, Deed.TOKEN_LOST),
        (failure(403), Asked.CHECK, Deed.TOKEN_LIVES),
        (foreign(403), Asked.CHECK, Deed.RETRY),
        (foreign(403), Asked.READ, Deed.DOUBT),
        (failure(400), Asked.LOGIN, Deed.WAIT),
        (failure(503), Asked.LOGIN, Deed.RETRY),
        (OSError(), Asked.LOGIN, Deed.RETRY),
        (VaultError(VaultFault.TIMEOUT, "", ""), Asked.READ, Deed.DOUBT),
    ],
)
def test_deeds(error: Exception, asked: Asked, deed: Deed) -> None:
    assert deed_of(error, asked) is deed
