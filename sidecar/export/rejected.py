"""File of log records that the collector refused for good: JSON lines for people, within a bound."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from sidecar.export.verdict import ExportFailure

_log = logging.getLogger(__name__)
NAME = "rejected-logs.jsonl"


@dataclass(slots=True)
class RejectedRecords:
    """Appends to `<directory>/rejected-logs.jsonl`; at half of `max_bytes` it becomes `.1` and a new one begins."""

    directory: Path | None
    max_bytes: int

    def keep(self, record: bytes, failure: ExportFailure, time_ns: int) -> None:
        """Write a serialised record with the reason. An error is only logged: the record is counted already."""
        if self.directory is None:
            return
        from google.protobuf.json_format import MessageToDict  # noqa: PLC0415 - 5 ms that only a refusal pays for

        line = {
            "time_unix_nano": time_ns,
            "reason": failure.reason,
            "message": failure.message,
            "record": MessageToDict(LogRecord.FromString(record), preserving_proto_field_name=True),
        }
        try:
            self._append(self.directory / NAME, json.dumps(line, ensure_ascii=False).encode() + b"\n")
        except OSError as error:
            _log.warning("rejected_record_not_kept", extra={"error": str(error)})

    def _append(self, path: Path, line: bytes) -> None:
        if path.exists() and path.stat().st_size + len(line) > self.max_bytes // 2:
            path.replace(path.with_suffix(".jsonl.1"))
        # 0600: a record may hold what only the sidecar's user may read.
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open(path, flags, 0o600)
        try:
            os.write(handle, line)
        finally:
            os.close(handle)
