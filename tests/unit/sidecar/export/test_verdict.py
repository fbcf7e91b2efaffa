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


@pytest.mark.parametrize(
    ("code", "details", "verdict", "reason"),
    [
        (CODE.UNKNOWN, "Received http2 header with status: 500", ExportVerdict.RETRY, "unknown"),
        (CODE.INTERNAL, "Received http2 header with status: 400", ExportVerdict.RETRY, "internal"),
        (CODE.PERMISSION_DENIED, "Received http2 header with status: 403", ExportVerdict.HOLD, "permission_denied"),
        (CODE.UNKNOWN, "Received http2 header with status: 413", ExportVerdict.REFUSE, "http_413"),
        (CODE.INTERNAL, "Stream removed (RST_STREAM (…))", ExportVerdict.RETRY, "internal"),
        (CODE.RESOURCE_EXHAUSTED, "Stream removed (RST_STREAM (…))", ExportVerdict.RETRY, "resource_exhausted"),
        (CODE.UNKNOWN, "No status received", ExportVerdict.RETRY, "unknown"),
        (CODE.OK, "the answer is no OTLP response", ExportVerdict.RETRY, "unreadable_answer"),
    ],
)
def test_what_the_collector_has_not_said_is_no_verdict_on_the_data(
    code: grpc.StatusCode, details: str, verdict: ExportVerdict, reason: str
) -> None:
    failure = judge(code, details, ())
    assert (failure.verdict, failure.reason) == (verdict, reason)


def test_every_status_fits_a_rule() -> None:
    assert all(judge(code, "", ()).verdict in ExportVerdict for code in CODE)


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
