"""Answers about the Lease, of the API server and of what stands before it: what each proves, and what follows.

Two tables decide. `ROWS` turns a status and the one who speaks into a proof, `DEEDS` a proof and what was asked into
a deed. The API server refuses with a Status object (apimachinery, meta/v1); a proxy or a load balancer answers with
something else, and its 404 or 200 says nothing about the Lease.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

MAX_RETRY_AFTER_S = 60.0


class UnreadableLeaseError(Exception):
    """An answer of 2xx that is not the Lease that was asked for or written."""


class ApiSpeaker(StrEnum):
    """Party that answered, told by the body."""

    API_SERVER = "the API server"
    FRONT = "something in front of it"


class LeaseProof(StrEnum):
    """Facts that a failed request about the Lease proves."""

    ABSENT = "there is no Lease of this name"
    CHANGED = "another process was first: the Lease exists, or has another version"
    NOT_DONE = "the API server did not do it and may do it later"
    REFUSED = "the API server does not do it before somebody corrects rights or settings"
    NOTHING = "nothing: the write may have been done, and nobody says so"


class LeaseRequest(StrEnum):
    """Kinds of request, as far as their answers are acted on differently."""

    READ = "read the Lease"
    CLAIM = "become the owner"
    RENEW = "renew"
    RELEASE = "release"


class LeaseDeed(StrEnum):
    """Consequences of an answer that is no Lease."""

    KEEP = "keep what is known and ask again; our own deadline decides"
    NAME = "the same, and name the remedy in the log"
    FREE = "make it, once the term that was last seen in it has run out"
    MAKE = "make it anew at once, with our epoch: only one can make it"
    LOOK = "read it: go on if it names us and our epoch, else stop sending at once"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseAnswerRow:
    """Proof of the statuses `lowest` to `highest` from one of `speakers`."""

    speakers: frozenset[ApiSpeaker]
    lowest: int
    highest: int
    proof: LeaseProof

    def fits(self, speaker: ApiSpeaker, status: int) -> bool:
        """Return True if an answer is of this row."""
        return speaker in self.speakers and self.lowest <= status <= self.highest


def _row(lowest: int, highest: int, proof: LeaseProof, *speakers: ApiSpeaker) -> LeaseAnswerRow:
    said_by = frozenset(speakers or ApiSpeaker)
    return LeaseAnswerRow(speakers=said_by, lowest=lowest, highest=highest, proof=proof)


_API = ApiSpeaker.API_SERVER
ROWS: tuple[LeaseAnswerRow, ...] = (
    _row(100, 299, LeaseProof.NOTHING),
    _row(404, 404, LeaseProof.ABSENT, _API),
    # 408 and 5xx: the request may have reached etcd, and the answer did not come back in time.
    _row(408, 408, LeaseProof.NOTHING, _API),
    _row(409, 409, LeaseProof.CHANGED, _API),
    _row(410, 410, LeaseProof.NOT_DONE, _API),
    _row(429, 429, LeaseProof.NOT_DONE),
    _row(400, 499, LeaseProof.REFUSED, _API),
    _row(300, 999, LeaseProof.NOTHING),
)
"""First row that fits counts; a 2xx is here if its body is not the Lease."""
_DEEDS: dict[LeaseProof, dict[LeaseRequest, LeaseDeed]] = {
    LeaseProof.ABSENT: {
        LeaseRequest.READ: LeaseDeed.FREE,
        # Of a creation: it is the namespace that is not there.
        LeaseRequest.CLAIM: LeaseDeed.NAME,
        LeaseRequest.RENEW: LeaseDeed.MAKE,
    },
    LeaseProof.CHANGED: {LeaseRequest.RENEW: LeaseDeed.LOOK},
    LeaseProof.REFUSED: dict.fromkeys(LeaseRequest, LeaseDeed.NAME),
}
DEEDS: dict[tuple[LeaseProof, LeaseRequest], LeaseDeed] = {
    (proof, asked): _DEEDS.get(proof, {}).get(asked, LeaseDeed.KEEP) for proof in LeaseProof for asked in LeaseRequest
}


def judge(status: int, body: bytes) -> LeaseAnswerRow:
    """Return the row of an answer that is not the Lease."""
    try:
        tree = json.loads(body)
    except ValueError:
        tree = None
    said_by = _API if isinstance(tree, dict) and tree.get("kind") == "Status" else ApiSpeaker.FRONT
    return next(row for row in ROWS if row.fits(said_by, status))


def response_of(error: BaseException | None) -> Any:
    """Return the HTTP response that an error is about; None where none came.

    The client fails on the way to its own error where an answer has no content type or no Status object; the answer
    is then in the error's context.
    """
    while error is not None:
        if isinstance(getattr(getattr(error, "response", None), "status_code", None), int):
            return error.response  # type: ignore[attr-defined] # asked for just above
        error = error.__context__
    return None


def deed_of(error: Exception, asked: LeaseRequest) -> LeaseDeed:
    """Return the deed that a failed request calls for; without an answer nothing is proved."""
    answer = response_of(error)
    proof = judge(answer.status_code, answer.content).proof if answer is not None else LeaseProof.NOTHING
    return DEEDS[proof, asked]


def retry_after_s(error: Exception) -> float:
    """Seconds that an answer asks us to wait, at most a minute; 0 where it does not."""
    answer = response_of(error)
    text = answer.headers.get("retry-after", "") if answer is not None else ""
    return min(MAX_RETRY_AFTER_S, float(text)) if text.isascii() and text.isdecimal() else 0.0
