"""A stand-in for the OpenTelemetry Collector: takes OTLP over gRPC and writes log records to a file.

`make run` has no collector binary to start; this is the official protobuf service with the shortest
implementation, so that the sidecar's exporter has a peer and a person can read what it sends.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

_MESSAGES: dict[str, tuple[Any, Any]] = {
    "logs": (logs.ExportLogsServiceRequest, logs.ExportLogsServiceResponse),
    "metrics": (metrics.ExportMetricsServiceRequest, metrics.ExportMetricsServiceResponse),
}


@dataclass(slots=True)
class Collector:
    """An OTLP endpoint on loopback; `start` binds it, `stop` ends it and closes the file."""

    path: Path
    records: int = 0
    exports: int = 0
    endpoint: str = ""
    _server: Any = None
    _file: TextIO | None = field(default=None, repr=False)

    async def start(self) -> str:
        """Listens on a free port; the endpoint's URL."""
        self._file = self.path.open("a", encoding="utf-8", buffering=1)
        self._server = grpc.aio.server()
        self._server.add_generic_rpc_handlers((self._service("logs"), self._service("metrics")))
        port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        self.endpoint = f"http://127.0.0.1:{port}"
        return self.endpoint

    async def stop(self) -> None:
        """Ends the server."""
        if self._server is not None:
            await self._server.stop(1.0)
        if self._file is not None:
            self._file.close()

    def _service(self, signal: str) -> grpc.GenericRpcHandler:
        request, answer = _MESSAGES[signal]
        take = self.take if signal == "logs" else self.count

        async def export(message: Any, _: object) -> Any:
            take(message)
            return answer()

        handler = grpc.unary_unary_rpc_method_handler(
            export, request_deserializer=request.FromString, response_serializer=answer.SerializeToString
        )
        name = f"opentelemetry.proto.collector.{signal}.v1.{signal.capitalize()}Service"
        return grpc.method_handlers_generic_handler(name, {"Export": handler})

    def count(self, _: object) -> None:
        """Counts an export of metrics: they are read on /metrics here."""
        self.exports += 1

    def take(self, request: logs.ExportLogsServiceRequest) -> None:
        """Writes each record as a line."""
        for resource in request.resource_logs:
            for scope in resource.scope_logs:
                for record in scope.log_records:
                    self.records += 1
                    line = {"event": record.event_name, "time_unix_nano": record.time_unix_nano}
                    line.update({item.key: _plain(item.value) for item in record.attributes})
                    if self._file is not None:
                        self._file.write(json.dumps(line) + "\n")


def _plain(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    return getattr(value, kind) if kind else None
