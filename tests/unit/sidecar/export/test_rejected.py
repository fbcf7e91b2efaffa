from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from sidecar.export.rejected import RejectedRecords
from sidecar.export.verdict import ExportFailure, ExportVerdict

FAILURE = ExportFailure(ExportVerdict.REFUSE, "invalid_argument", "no such field")


def record(name: str) -> bytes:
    return LogRecord(event_name=name).SerializeToString()


def names(path: Path) -> list[str]:
    return [json.loads(line)["record"]["event_name"] for line in path.read_text().splitlines()]


def test_a_refused_record_is_kept_with_its_reason_for_the_owner_only(tmp_path: Path) -> None:
    RejectedRecords(tmp_path, 4096).keep(record("e1"), FAILURE, 7)
    file = tmp_path / "rejected-logs.jsonl"
    assert json.loads(file.read_text()) == {
        "time_unix_nano": 7,
        "reason": "invalid_argument",
        "message": "no such field",
        "record": {"event_name": "e1"},
    }
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_newest_records_stay_within_the_bound(tmp_path: Path) -> None:
    rejects = RejectedRecords(tmp_path, 4096)
    for number in range(200):
        rejects.keep(record(f"e{number}"), FAILURE, number)
    newest, older = tmp_path / "rejected-logs.jsonl", tmp_path / "rejected-logs.jsonl.1"
    assert newest.stat().st_size + older.stat().st_size <= 4096
    kept = names(older) + names(newest)
    assert kept == [f"e{number}" for number in range(200 - len(kept), 200)]


def test_a_directory_that_cannot_be_written_is_only_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    RejectedRecords(tmp_path / "none", 4096).keep(record("e1"), FAILURE, 7)
    assert caplog.messages == ["rejected_record_not_kept"]
