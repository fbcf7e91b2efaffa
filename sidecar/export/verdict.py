"""Verdict on a failed export request: one table of rules, by https://opentelemetry.io/docs/specs/otlp/#failures.

The specification speaks of answers of an OTLP server. A proxy, a load balancer or a broken connection answers too,
and gRPC makes a status of that by itself: INTERNAL of an HTTP 400, UNKNOWN of a 500. Such a status says nothing about
the data, and its text tells it apart: no server sends these words. A test with real HTTP/2 answers pins them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode as Code

STATUS_DETAILS = "grpc-status-details-bin"
# A collector may ask for a longer pause, but its mistake must not silence us for days.
LONGEST_RETRY_S = 300.0
_MESSAGE_CHARACTERS = 300


class ExportVerdict(Enum):
    """Next step after a failed request; the value's text is on the page of compatibility."""

    RETRY = "kept, sent again after a pause"
    """The collector cannot take it now."""
    HOLD = "kept, sent again until somebody corrects the configuration"
    """The collector refuses us, not the data."""
    REFUSE = "halved, each half sent by itself; a record that is refused alone is given up"
    """The collector refuses the data, or finds it too large."""


@dataclass(frozen=True, slots=True)
class ExportFailure:
    """Failure of a request: `reason` is the gRPC status in snake_case, or that of a rule or a `SetupError`."""

    verdict: ExportVerdict
    reason: str
    message: str
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRule:
    """Verdict on answers with one of `codes` (empty: any) whose text begins with the pattern `words`."""

    answer: str
    proves: str
    verdict: ExportVerdict
    codes: frozenset[Code] = frozenset()
    words: str = ""
    asks_to_wait: bool = False
    """True if the answer must have RetryInfo."""
    reason: str = ""

    def fits(self, code: Code, details: str, *, asks_to_wait: bool) -> bool:
        """True if the rule is about this answer."""
        has_code = not self.codes or code in self.codes
        return has_code and re.match(self.words, details) is not None and (asks_to_wait or not self.asks_to_wait)


_HTTP = "Received http2 header with status: "
_IN_FRONT = "something before the collector"
_LATER = (
    *(Code.CANCELLED, Code.DEADLINE_EXCEEDED, Code.ABORTED),
    *(Code.OUT_OF_RANGE, Code.UNAVAILABLE, Code.DATA_LOSS),
)

RULES = (
    AnswerRule(
        answer="HTTP 413 without a gRPC status",
        proves=f"{_IN_FRONT} finds the request too large",
        verdict=ExportVerdict.REFUSE,
        words=_HTTP + "413",
        reason="http_413",
    ),
    AnswerRule(
        answer="HTTP 401, 403, 404 without a gRPC status",
        proves=f"{_IN_FRONT} refuses us, or does not know the collector",
        verdict=ExportVerdict.HOLD,
        words=_HTTP + "40[134]",
    ),
    AnswerRule(
        answer="any other HTTP status without a gRPC status, such as 302, 400, 407, 429, 500, 503",
        proves=f"{_IN_FRONT} answers; the collector has said nothing",
        verdict=ExportVerdict.RETRY,
        words=_HTTP,
    ),
    AnswerRule(
        answer="RST_STREAM, or an answer that ends without a gRPC status, such as a page of HTML",
        proves="the answer was cut off; the collector has said nothing",
        verdict=ExportVerdict.RETRY,
        words="Stream removed|No status received|(Received )?RST_STREAM",
    ),
    AnswerRule(
        answer=", ".join(code.name for code in _LATER),
        proves="the collector cannot take it now, or nobody has answered",
        verdict=ExportVerdict.RETRY,
        codes=frozenset(_LATER),
    ),
    AnswerRule(
        answer="RESOURCE_EXHAUSTED with RetryInfo",
        proves="the collector is busy",
        verdict=ExportVerdict.RETRY,
        codes=frozenset({Code.RESOURCE_EXHAUSTED}),
        asks_to_wait=True,
    ),
    # By the specification a client drops the data on these, too. We keep it: a token that expired, or a collector
    # without a logs pipeline, says nothing about the data, and the journal has room for it meanwhile.
    AnswerRule(
        answer="UNAUTHENTICATED, PERMISSION_DENIED, UNIMPLEMENTED",
        proves="the collector refuses us, or has no pipeline for the signal",
        verdict=ExportVerdict.HOLD,
        codes=frozenset({Code.UNAUTHENTICATED, Code.PERMISSION_DENIED, Code.UNIMPLEMENTED}),
    ),
    AnswerRule(
        answer="RESOURCE_EXHAUSTED without RetryInfo",
        proves="the message is too large for the collector",
        verdict=ExportVerdict.REFUSE,
        codes=frozenset({Code.RESOURCE_EXHAUSTED}),
    ),
    AnswerRule(
        answer="OK, with a body that is no OTLP response",
        proves="not that the data was taken",
        verdict=ExportVerdict.RETRY,
        codes=frozenset({Code.OK}),
        reason="unreadable_answer",
    ),
    AnswerRule(
        answer="any other gRPC status, such as INVALID_ARGUMENT, INTERNAL, UNKNOWN",
        proves="the collector refuses the data",
        verdict=ExportVerdict.REFUSE,
    ),
)
"""The first rule that fits decides."""


def judge(code: Code, details: str, metadata: Iterable[tuple[str, str | bytes]]) -> ExportFailure:
    """The verdict on a failed request, from its status and trailing metadata."""
    retry_after_s = _retry_after_s(metadata)
    rule = next(item for item in RULES if item.fits(code, details, asks_to_wait=retry_after_s is not None))
    return ExportFailure(rule.verdict, rule.reason or code.name.lower(), details[:_MESSAGE_CHARACTERS], retry_after_s)


def _retry_after_s(metadata: Iterable[tuple[str, str | bytes]]) -> float | None:
    """Delay that the collector asks for in RetryInfo, None where it does not."""
    for key, value in metadata:
        if key == STATUS_DETAILS and isinstance(value, bytes):
            try:
                status = Status.FromString(value)
            except DecodeError:
                return None
            info = RetryInfo()
            for detail in status.details:
                if detail.Unpack(info):
                    return min(max(float(info.retry_delay.ToNanoseconds()) / 1e9, 0.0), LONGEST_RETRY_S)
    return None
