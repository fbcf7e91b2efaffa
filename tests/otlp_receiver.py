"""An OTLP endpoint made from the official protobuf services, which keeps what it takes and fails when told to."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc as logs_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

RECORD_ID = "log.record.uid"
MAX_MESSAGE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Answer to an export. With `code` OK the data is taken: `rejected` of it by partial_success, or only late."""

    code: grpc.StatusCode = grpc.StatusCode.OK
    details: str = "told to fail"
    retry_after_s: float | None = None
    rejected: int = 0
    delay_s: float = 0.0
    lose_answer: bool = False
    """The data is taken, and the caller is told UNAVAILABLE: what a connection cut at the wrong moment does."""


@dataclass(slots=True)
class OtlpReceiver:
    """`async with OtlpReceiver() as r`: listens on a free port of loopback until the block ends.

    Each export meets the next of `logs_faults` / `metrics_faults`, then `always`; `poison` names records that no
    request may contain. `die` and `revive` take the server away and bring it back on its port.
    """

    port: int = 0
    always: Fault = field(default_factory=Fault)
    logs_faults: deque[Fault] = field(default_factory=deque)
    metrics_faults: deque[Fault] = field(default_factory=deque)
    poison: Callable[[LogRecord], bool] | None = None
    decide: Callable[[logs.ExportLogsServiceRequest], Fault | None] | None = None
    """Asked first, where there is one: what this request meets, or None for the next in turn."""
    credentials: grpc.ServerCredentials | None = None
    log_requests: list[logs.ExportLogsServiceRequest] = field(default_factory=list)
    """Taken requests, as they came: redeliveries are here twice."""
    metric_requests: list[metrics.ExportMetricsServiceRequest] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    """The outcome of every call of the logs service, taken or not."""
    headers: list[dict[str, str]] = field(default_factory=list)
    _server: Any = None
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _decoded: list[dict[str, Any]] = field(default_factory=list)
    _decoded_requests: int = 0

    async def __aenter__(self) -> Self:
        await self.revive()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.die()

    @property
    def endpoint(self) -> str:
        """The URL that an exporter is given."""
        return f"{'http' if self.credentials is None else 'https'}://localhost:{self.port}"

    async def revive(self) -> None:
        """Listens: at first on a free port, later on the same."""
        options = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES), ("grpc.so_reuseport", 0)]
        self._server = grpc.aio.server(options=options)
        logs_grpc.add_LogsServiceServicer_to_server(_Logs(self), self._server)  # type: ignore[no-untyped-call] # generated without types
        metrics_grpc.add_MetricsServiceServicer_to_server(_Metrics(self), self._server)  # type: ignore[no-untyped-call] # generated without types
        address = f"127.0.0.1:{self.port}"
        if self.credentials is None:
            self.port = self._server.add_insecure_port(address)
        else:
            self.port = self._server.add_secure_port(address, self.credentials)
        await self._server.start()

    async def die(self) -> None:
        """Stops at once; calls under way are cut."""
        await self._server.stop(None)

    @property
    def records(self) -> list[dict[str, Any]]:
        """Every record taken, as `plain_record` makes it."""
        for request in self.log_requests[self._decoded_requests :]:
            self._decoded_requests += 1
            for resource in request.resource_logs:
                attributes = plain_attributes(resource.resource.attributes)
                for scope in resource.scope_logs:
                    self._decoded.extend(plain_record(record, attributes) for record in scope.log_records)
        return self._decoded

    @property
    def by_id(self) -> dict[str, dict[str, Any]]:
        """Records by their stable id; of several with one id, the last."""
        return {record["id"]: record for record in self.records}

    @property
    def duplicates(self) -> int:
        """Records whose id had come before."""
        return len(self.records) - len(self.by_id)

    @property
    def metrics(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], dict[str, Any]]:
        """The latest point of every series: (name, sorted attributes) → value, kind, start, time, resource."""
        found: dict[tuple[str, tuple[tuple[str, str], ...]], dict[str, Any]] = {}
        for request in self.metric_requests:
            for resource in request.resource_metrics:
                attributes = plain_attributes(resource.resource.attributes)
                for scope in resource.scope_metrics:
                    for metric in scope.metrics:
                        found.update(plain_points(metric, attributes))
        return found

    async def wait_records(self, count: int, *, deadline_s: float = 120.0) -> None:
        """Waits until `count` records with distinct ids are here.

        Raises:
            TimeoutError: they do not come.
        """
        await self._wait(lambda: len(self.by_id) >= count, deadline_s)

    async def wait_calls(self, count: int, *, deadline_s: float = 120.0) -> None:
        """Waits until the logs service was called `count` times."""
        await self._wait(lambda: len(self.calls) >= count, deadline_s)

    async def wait_metrics(self, count: int = 1, *, deadline_s: float = 120.0) -> None:
        """Waits until `count` requests with metrics are here."""
        await self._wait(lambda: len(self.metric_requests) >= count, deadline_s)

    async def _wait(self, holds: Callable[[], bool], deadline_s: float) -> None:
        async with asyncio.timeout(deadline_s), self._changed:
            await self._changed.wait_for(holds)

    async def changed(self) -> None:
        """Wakes who waits."""
        async with self._changed:
            self._changed.notify_all()


class _Logs(logs_grpc.LogsServiceServicer):
    def __init__(self, receiver: OtlpReceiver) -> None:
        self._receiver = receiver

    async def Export(self, request: Any, context: Any) -> logs.ExportLogsServiceResponse:  # noqa: N802 - the service's name
        receiver = self._receiver
        receiver.headers.append(dict(context.invocation_metadata()))
        fault = receiver.decide(request) if receiver.decide is not None else None
        if fault is None:
            fault = receiver.logs_faults.popleft() if receiver.logs_faults else receiver.always
        if receiver.poison is not None and any(map(receiver.poison, _each(request))):
            fault = Fault(code=grpc.StatusCode.INVALID_ARGUMENT, details="a record is refused")
        receiver.calls.append("LOST" if fault.lose_answer else fault.code.name)
        taken = fault.code is grpc.StatusCode.OK or fault.lose_answer
        if taken:
            receiver.log_requests.append(request)
        await receiver.changed()
        await _meet(fault, context)
        answer = logs.ExportLogsServiceResponse()
        if fault.rejected:
            answer.partial_success.rejected_log_records = fault.rejected
            answer.partial_success.error_message = fault.details
        return answer


class _Metrics(metrics_grpc.MetricsServiceServicer):
    def __init__(self, receiver: OtlpReceiver) -> None:
        self._receiver = receiver

    async def Export(self, request: Any, context: Any) -> metrics.ExportMetricsServiceResponse:  # noqa: N802 - the service's name
        receiver = self._receiver
        fault = receiver.metrics_faults.popleft() if receiver.metrics_faults else receiver.always
        if fault.code is grpc.StatusCode.OK:
            receiver.metric_requests.append(request)
        await receiver.changed()
        await _meet(fault, context)
        answer = metrics.ExportMetricsServiceResponse()
        if fault.rejected:
            answer.partial_success.rejected_data_points = fault.rejected
            answer.partial_success.error_message = fault.details
        return answer


async def _meet(fault: Fault, context: Any) -> None:
    if fault.delay_s:
        await asyncio.sleep(fault.delay_s)
    if fault.lose_answer:
        await context.abort(grpc.StatusCode.UNAVAILABLE, "the answer is lost")
    if fault.code is grpc.StatusCode.OK:
        return
    if fault.retry_after_s is not None:
        info = RetryInfo()
        info.retry_delay.FromNanoseconds(int(fault.retry_after_s * 1e9))
        detail = AnyMessage()
        detail.Pack(info)
        status = Status(code=fault.code.value[0], message=fault.details, details=[detail])
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    await context.abort(fault.code, fault.details)


def _each(request: logs.ExportLogsServiceRequest) -> list[LogRecord]:
    return [
        record for resource in request.resource_logs for scope in resource.scope_logs for record in scope.log_records
    ]


def plain_value(value: AnyValue) -> Any:
    """A value as Python has it; None where none is set."""
    kind = value.WhichOneof("value")
    return getattr(value, kind) if kind else None


def plain_attributes(attributes: Any) -> dict[str, Any]:
    """Attributes as a dictionary; a key that stands twice is an error of the sender."""
    found = {item.key: plain_value(item.value) for item in attributes}
    assert len(found) == len(attributes), f"an attribute stands twice: {[item.key for item in attributes]}"
    return found


def plain_record(record: LogRecord, resource: dict[str, Any]) -> dict[str, Any]:
    """A record as a dictionary, times in nanoseconds, trace ids in hexadecimal."""
    attributes = plain_attributes(record.attributes)
    return {
        "event_name": record.event_name,
        "id": attributes.get(RECORD_ID, ""),
        "attributes": attributes,
        "time": record.time_unix_nano,
        "observed": record.observed_time_unix_nano,
        "body": plain_value(record.body),
        "severity": record.severity_number,
        "severity_text": record.severity_text,
        "trace_id": record.trace_id.hex(),
        "span_id": record.span_id.hex(),
        "flags": record.flags,
        "resource": resource,
    }


def plain_points(
    metric: Metric, resource: dict[str, Any]
) -> dict[tuple[str, tuple[tuple[str, str], ...]], dict[str, Any]]:
    """The points of a metric: value is a number, or count, sum, bounds and buckets."""
    kind = str(metric.WhichOneof("data"))
    data = getattr(metric, kind)
    found = {}
    for point in data.data_points:
        key = (metric.name, tuple(sorted(plain_attributes(point.attributes).items())))
        found[key] = {
            "kind": kind,
            "unit": metric.unit,
            "description": metric.description,
            "monotonic": getattr(data, "is_monotonic", None),
            "temporality": getattr(data, "aggregation_temporality", None),
            "start": point.start_time_unix_nano,
            "time": point.time_unix_nano,
            "value": _measured(point, kind),
            "resource": resource,
        }
    return found


def _measured(point: Any, kind: str) -> Any:
    if kind == "histogram":
        buckets, bounds = tuple(point.bucket_counts), tuple(point.explicit_bounds)
        return {"count": point.count, "sum": point.sum, "buckets": buckets, "bounds": bounds}
    return getattr(point, str(point.WhichOneof("value")))
