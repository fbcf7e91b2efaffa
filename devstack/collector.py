"""A stand-in for the OpenTelemetry Collector: takes OTLP over gRPC and writes log records to a file.

`make run` has no collector binary to start; this is the official protobuf service with the shortest
implementation, so that the sidecar's exporter has a peer and a person can read what it sends.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from pod_runtime import log
from pod_runtime.run import run

_MESSAGES: dict[str, tuple[Any, Any]] = {
    "logs": (logs.ExportLogsServiceRequest, logs.ExportLogsServiceResponse),
    "metrics": (metrics.ExportMetricsServiceRequest, metrics.ExportMetricsServiceResponse),
}


@dataclass(slots=True)
class Collector:
    """An OTLP endpoint that appends each log record to `file` as a line."""

    file: TextIO

    def service(self, signal: str) -> grpc.GenericRpcHandler:
        """The official service of `logs` or `metrics`; metrics are acknowledged and read on /metrics instead."""
        request, answer = _MESSAGES[signal]

        async def export(message: Any, _: object) -> Any:
            if signal == "logs":
                self.take(message)
            return answer()

        handler = grpc.unary_unary_rpc_method_handler(
            export, request_deserializer=request.FromString, response_serializer=answer.SerializeToString
        )
        name = f"opentelemetry.proto.collector.{signal}.v1.{signal.capitalize()}Service"
        return grpc.method_handlers_generic_handler(name, {"Export": handler})

    def take(self, request: logs.ExportLogsServiceRequest) -> None:
        """Writes each record as a line."""
        for resource in request.resource_logs:
            for scope in resource.scope_logs:
                for record in scope.log_records:
                    line = {"event": record.event_name, "time_unix_nano": record.time_unix_nano}
                    line.update({item.key: _plain(item.value) for item in record.attributes})
                    self.file.write(json.dumps(line) + "\n")


def _plain(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    return getattr(value, kind) if kind else None


async def _serve(path: Path, stop: asyncio.Event) -> int:
    with path.open("a", encoding="utf-8", buffering=1) as file:
        collector = Collector(file)
        server = grpc.aio.server()
        server.add_generic_rpc_handlers(tuple(collector.service(signal) for signal in _MESSAGES))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        logging.getLogger("devstack.collector").info("listening", extra={"otlp": f"127.0.0.1:{port}"})
        await stop.wait()
        await server.stop(1.0)
    return 0


if __name__ == "__main__":
    log.configure("collector")
    sys.exit(run(lambda stop: _serve(Path(sys.argv[1]), stop)))
