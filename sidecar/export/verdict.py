"""What an answer to an export means: https://opentelemetry.io/docs/specs/otlp/#failures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

STATUS_DETAILS = "grpc-status-details-bin"
LONGEST_RETRY_S = 300.0
"""A collector may ask for more; a mistake of its clock must not silence us for days."""
_MESSAGE_CHARACTERS = 300


class Verdict(Enum):
    """What to do with a request that failed."""

    RETRY = "retry"
    """The collector cannot take it now."""
    HOLD = "hold"
    """The collector refuses us, not the data: it is tried again until somebody mends the configuration."""
    REFUSE = "refuse"
    """The data itself is refused, or too large: halve it, and drop what is refused alone."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request failed: `reason` is the status in snake_case."""

    verdict: Verdict
    reason: str
    message: str
    retry_after_s: float | None = None


_RETRYABLE = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
_OURS_TO_MEND = frozenset(
    {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNIMPLEMENTED}
)
"""The specification has these dropped too. A token that expired says nothing about the data, so they wait."""


def judge(code: grpc.StatusCode, details: str, metadata: Iterable[tuple[str, str | bytes]]) -> Failure:
    """The verdict on a failed request, from its status and trailing metadata."""
    retry_after_s = _retry_after_s(metadata)
    verdict = Verdict.REFUSE
    if code in _RETRYABLE or (code is grpc.StatusCode.RESOURCE_EXHAUSTED and retry_after_s is not None):
        verdict = Verdict.RETRY
    elif code in _OURS_TO_MEND:
        verdict = Verdict.HOLD
    return Failure(verdict, code.name.lower(), details[:_MESSAGE_CHARACTERS], retry_after_s)


def _retry_after_s(metadata: Iterable[tuple[str, str | bytes]]) -> float | None:
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
