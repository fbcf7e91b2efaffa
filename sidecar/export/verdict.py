"""Verdict on a failed export request, by https://opentelemetry.io/docs/specs/otlp/#failures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

STATUS_DETAILS = "grpc-status-details-bin"
# A collector may ask for a longer pause, but its mistake must not silence us for days.
LONGEST_RETRY_S = 300.0
_MESSAGE_CHARACTERS = 300


class ExportVerdict(Enum):
    """Next step after a failed request."""

    RETRY = "retry"
    """The collector cannot take it now: send it again."""
    HOLD = "hold"
    """The collector refuses us, not the data: send it again until somebody corrects the configuration."""
    REFUSE = "refuse"
    """The collector refuses the data, or finds it too large: halve it, and give up a record refused alone."""


@dataclass(frozen=True, slots=True)
class ExportFailure:
    """Failure of a request: `reason` is the gRPC status in snake_case, or that of a `SetupError`."""

    verdict: ExportVerdict
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
# By the specification a client drops the data on these, too. We keep it: a token that expired, or a collector that
# was installed without a logs pipeline, says nothing about the data, and the journal has room for it meanwhile.
_CONFIGURATION = frozenset(
    {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNIMPLEMENTED}
)


def judge(code: grpc.StatusCode, details: str, metadata: Iterable[tuple[str, str | bytes]]) -> ExportFailure:
    """The verdict on a failed request, from its status and trailing metadata."""
    retry_after_s = _retry_after_s(metadata)
    verdict = ExportVerdict.REFUSE
    # RESOURCE_EXHAUSTED is ambiguous: with RetryInfo the collector is busy, without it gRPC found the message too
    # large, which a repeat would not change.
    if code in _RETRYABLE or (code is grpc.StatusCode.RESOURCE_EXHAUSTED and retry_after_s is not None):
        verdict = ExportVerdict.RETRY
    elif code in _CONFIGURATION:
        verdict = ExportVerdict.HOLD
    return ExportFailure(verdict, code.name.lower(), details[:_MESSAGE_CHARACTERS], retry_after_s)


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
