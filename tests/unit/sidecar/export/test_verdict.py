from __future__ import annotations

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from sidecar.export.verdict import ExportVerdict, judge

CODE = grpc.StatusCode


def retry_info(seconds: int) -> tuple[tuple[str, bytes], ...]:
    info = RetryInfo()
    info.retry_delay.FromSeconds(seconds)
    detail = AnyMessage()
    detail.Pack(info)
    return (("grpc-status-details-bin", Status(details=[detail]).SerializeToString()),)


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        (CODE.CANCELLED, ExportVerdict.RETRY),
        (CODE.DEADLINE_EXCEEDED, ExportVerdict.RETRY),
        (CODE.ABORTED, ExportVerdict.RETRY),
        (CODE.OUT_OF_RANGE, ExportVerdict.RETRY),
        (CODE.UNAVAILABLE, ExportVerdict.RETRY),
        (CODE.DATA_LOSS, ExportVerdict.RETRY),
        (CODE.UNAUTHENTICATED, ExportVerdict.HOLD),
        (CODE.PERMISSION_DENIED, ExportVerdict.HOLD),
        (CODE.UNIMPLEMENTED, ExportVerdict.HOLD),
        (CODE.INVALID_ARGUMENT, ExportVerdict.REFUSE),
        (CODE.RESOURCE_EXHAUSTED, ExportVerdict.REFUSE),
        (CODE.INTERNAL, ExportVerdict.REFUSE),
        (CODE.UNKNOWN, ExportVerdict.REFUSE),
        (CODE.NOT_FOUND, ExportVerdict.REFUSE),
        (CODE.ALREADY_EXISTS, ExportVerdict.REFUSE),
        (CODE.FAILED_PRECONDITION, ExportVerdict.REFUSE),
    ],
)
def test_each_status_has_its_verdict(code: grpc.StatusCode, verdict: ExportVerdict) -> None:
    assert judge(code, "", ()).verdict is verdict


def test_exhausted_resources_with_a_delay_are_a_matter_of_time() -> None:
    failure = judge(CODE.RESOURCE_EXHAUSTED, "busy", retry_info(7))
    assert (failure.verdict, failure.retry_after_s, failure.reason) == (ExportVerdict.RETRY, 7.0, "resource_exhausted")


def test_an_absurd_delay_is_capped() -> None:
    assert judge(CODE.UNAVAILABLE, "", retry_info(10**9)).retry_after_s == 300.0


@pytest.mark.parametrize("data", [b"\xff\xff", b"", Status(message="x").SerializeToString()])
def test_details_that_say_nothing_are_no_delay(data: bytes) -> None:
    assert judge(CODE.UNAVAILABLE, "", (("grpc-status-details-bin", data),)).retry_after_s is None


def test_a_long_message_is_cut() -> None:
    assert len(judge(CODE.INTERNAL, "x" * 10_000, ()).message) == 300
