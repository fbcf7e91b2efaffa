"""Answers of Vault and of what stands before it: what each proves, and what the agent does about it.

Two tables, and nothing else decides. `ANSWERS` turns a status, the words in the body and the one who speaks into a
fault and a proof; `DEEDS` turns a proof and what was asked into a deed. The words are those of HashiCorp Vault 1.14
and OpenBao 2.7, seen on both. A body is only matched here; no error keeps it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import StrEnum

from sidecar.secrets.errors import Proof, VaultError, VaultFault


class Speaker(StrEnum):
    """Party that answered, told by the body: Vault's has a list `errors` or a `request_id`."""

    VAULT = "Vault"
    FRONT = "something in front of it"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRow:
    """Meaning of the statuses `lowest` to `highest` if `words` (a regular expression) are in the errors of the body."""

    speaker: Speaker
    lowest: int
    highest: int
    fault: VaultFault
    proof: Proof
    words: str = ""

    def fits(self, speaker: Speaker, status: int, text: str) -> bool:
        """Return True if an answer is of this row."""
        said = self.speaker is speaker and self.lowest <= status <= self.highest
        return said and re.search(self.words, text) is not None


def _row(speaker: Speaker, statuses: int | tuple[int, int], words: str, fault: VaultFault, proof: Proof) -> AnswerRow:
    lowest, highest = statuses if isinstance(statuses, tuple) else (statuses, statuses)
    return AnswerRow(speaker=speaker, lowest=lowest, highest=highest, words=words, fault=fault, proof=proof)


_VAULT, _FRONT = Speaker.VAULT, Speaker.FRONT
ANSWERS: tuple[AnswerRow, ...] = (
    _row(_VAULT, (300, 399), "", VaultFault.REDIRECT, Proof.NOT_DONE),
    _row(_VAULT, (400, 404), r"lease not found|invalid lease|lease expired", VaultFault.INVALID, Proof.ID_UNKNOWN),
    _row(_VAULT, (400, 404), r"invalid accessor", VaultFault.INVALID, Proof.ID_UNKNOWN),
    # Newer releases of Vault add the second text to the first.
    _row(_VAULT, 403, r"^permission denied$|invalid token|bad token", VaultFault.DENIED, Proof.TOKEN_DEAD),
    _row(_VAULT, 403, r"\* permission denied", VaultFault.DENIED, Proof.RIGHT_MISSING),
    _row(_VAULT, 403, "", VaultFault.DENIED, Proof.REFUSED),
    _row(_VAULT, 404, "", VaultFault.NOT_FOUND, Proof.REFUSED),
    _row(_VAULT, 412, "", VaultFault.SERVER, Proof.NOT_DONE),
    _row(_VAULT, 429, "", VaultFault.RATE_LIMITED, Proof.NOT_DONE),
    # 472 and 473 are a standby or replica that may serve the request in a moment (Vault's /sys/health page).
    _row(_VAULT, (472, 473), "", VaultFault.SERVER, Proof.NOT_DONE),
    _row(_VAULT, (400, 499), "", VaultFault.INVALID, Proof.REFUSED),
    # A server that gave up waiting, or a standby that passed the request on and lost the answer.
    _row(_VAULT, (500, 999), r"context (deadline|cancel)|forward", VaultFault.SERVER, Proof.NOTHING),
    _row(_VAULT, 503, "", VaultFault.SEALED, Proof.NOT_DONE),
    # Vault undoes what it began before it answers with a fault of its own.
    _row(_VAULT, (500, 999), "", VaultFault.SERVER, Proof.NOT_DONE),
    _row(_FRONT, (300, 399), "", VaultFault.REDIRECT, Proof.NOT_DONE),
    _row(_FRONT, 429, "", VaultFault.RATE_LIMITED, Proof.NOT_DONE),
    _row(_FRONT, (500, 999), "", VaultFault.SERVER, Proof.NOTHING),
    _row(_FRONT, (400, 499), "", VaultFault.FOREIGN, Proof.NOTHING),
)
"""First row that fits counts."""


def read_speaker(body: bytes) -> tuple[Speaker, str]:
    """Return the party that wrote a body, and the errors in it, joined."""
    try:
        tree = json.loads(body)
    except ValueError:
        return Speaker.FRONT, ""
    errors = tree.get("errors") if isinstance(tree, dict) else None
    if isinstance(errors, list) and all(isinstance(item, str) for item in errors):
        return Speaker.VAULT, "\n".join(errors)
    return (Speaker.VAULT if isinstance(tree, dict) and tree.get("request_id") else Speaker.FRONT), ""


def judge(status: int, body: bytes) -> AnswerRow:
    """Return the row of an answer that is no success."""
    speaker, text = read_speaker(body)
    return next(row for row in ANSWERS if row.fits(speaker, status, text))


class Asked(StrEnum):
    """Kinds of request, as far as their answers are acted on differently."""

    LOGIN = "login"
    READ = "read or poll of a secret"
    CHECK = "look at the token"
    LOOK = "look at a lease"
    RENEW_TOKEN = "renewal of a token"  # noqa: S105 - a kind of request
    RENEW_LEASE = "renewal of a lease"
    REVOKE_SELF = "revocation of a token by itself"
    REVOKE = "revocation by accessor or lease id"


class Deed(StrEnum):
    """Consequences of an answer that is no success."""

    RETRY = "keep what there is and ask again, with growing pauses"
    DOUBT = "keep what there is and ask again; what the server may have made is revoked with its token"
    WAIT = "ask again a few times with this credential, then wait for another one"
    TOKEN_LIVES = "take it as a proof that the token lives; name the missing right once"  # noqa: S105 - a sentence
    CHECK_TOKEN = "look at the token at once"  # noqa: S105 - a sentence
    TOKEN_LOST = "log in; the next token revokes this one by its accessor"  # noqa: S105 - a sentence
    STOP_RENEWING = "let it end at its time and replace it before"
    ENDED = "it has ended: replace it, or strike it from the lease journal"
    BY_ACCESSOR = "let the current token revoke it by its accessor"


_DEEDS: dict[Proof, dict[Asked, Deed]] = {
    Proof.NOT_SENT: {},
    Proof.NOT_DONE: {},
    Proof.NOTHING: {Asked.LOGIN: Deed.DOUBT, Asked.READ: Deed.DOUBT},
    Proof.REFUSED: {
        Asked.LOGIN: Deed.WAIT,
        Asked.RENEW_TOKEN: Deed.STOP_RENEWING,
        Asked.RENEW_LEASE: Deed.STOP_RENEWING,
    },
    Proof.RIGHT_MISSING: {
        Asked.LOGIN: Deed.WAIT,
        Asked.CHECK: Deed.TOKEN_LIVES,
        Asked.LOOK: Deed.TOKEN_LIVES,
        Asked.REVOKE_SELF: Deed.BY_ACCESSOR,
    },
    Proof.TOKEN_DEAD: {
        Asked.LOGIN: Deed.WAIT,
        Asked.CHECK: Deed.TOKEN_LOST,
        Asked.RENEW_TOKEN: Deed.TOKEN_LOST,
        Asked.REVOKE_SELF: Deed.BY_ACCESSOR,
        Asked.READ: Deed.CHECK_TOKEN,
        Asked.LOOK: Deed.CHECK_TOKEN,
        Asked.RENEW_LEASE: Deed.CHECK_TOKEN,
        Asked.REVOKE: Deed.CHECK_TOKEN,
    },
    Proof.ID_UNKNOWN: {
        Asked.LOGIN: Deed.WAIT,
        Asked.LOOK: Deed.ENDED,
        Asked.RENEW_LEASE: Deed.ENDED,
        Asked.REVOKE: Deed.ENDED,
    },
}
DEEDS: dict[tuple[Proof, Asked], Deed] = {
    (proof, asked): _DEEDS[proof].get(asked, Deed.RETRY) for proof in Proof for asked in Asked
}


def deed_of(error: Exception, asked: Asked) -> Deed:
    """Return the deed that an error calls for; an error that no answer made calls for another attempt."""
    return DEEDS[error.proof, asked] if isinstance(error, VaultError) else Deed.RETRY
