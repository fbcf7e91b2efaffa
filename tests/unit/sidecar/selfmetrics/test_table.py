from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from prometheus_client import generate_latest

from sidecar.export.settings import OtlpSettings
from sidecar.export.status import ExportStatus, SignalStatus
from sidecar.selfmetrics.self_metrics import SelfMetrics
from sidecar.selfmetrics.table import TABLE, WITHOUT_SECRETS, ProcessSnapshot, ProcessUsage, SelfMetric
from tests.unit.sidecar.selfmetrics.own_snapshot import BROKER, HELD, NOW, OWN, FakeSource

PAGE = Path(__file__).with_name("metrics_page.txt")
RESOURCE = {"service.name": "sidecar", "service.instance.id": "i1"}


def read(name: str, snapshot: ProcessSnapshot) -> list[tuple[Mapping[str, str], float]]:
    """Labels and values of a row's series."""
    [row] = [row for row in TABLE if row.name == name]
    return list(row.read(snapshot))


def test_names_kinds_units_labels_and_values_on_the_page_stay_the_same() -> None:
    metrics = SelfMetrics(FakeSource(), RESOURCE, OtlpSettings())
    metrics.observe_request("logs", "ok", 0.02)
    page = generate_latest(metrics).decode()
    metrics.close()
    lines = [line for line in page.splitlines() if not line.startswith("# HELP")]
    assert sorted(lines) == sorted(PAGE.read_text().splitlines())


def test_a_name_has_one_row() -> None:
    assert len({row.name for row in TABLE}) == len(TABLE)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_a_help_line_stands_by_itself(row: SelfMetric) -> None:
    text = row.help
    assert text
    assert not text.startswith(("Of these", "Whether", "What", "It "))
    assert not text.endswith(".")


def test_without_secrets_no_row_speaks_of_them() -> None:
    assert {row.name for row in TABLE} - {row.name for row in WITHOUT_SECRETS} == {
        row.name for row in TABLE if row.name.startswith("sidecar.secrets.")
    }


def test_a_producer_without_a_heartbeat_or_a_ledger_has_no_series_of_them() -> None:
    assert read("telemetry.producer.heartbeat.age", OWN) == [({"producer": "broker"}, 2.0)]
    assert read("telemetry.producer.emitted", OWN) == [({"producer": "broker"}, 10)]


def test_a_wall_clock_that_was_set_back_makes_no_negative_age() -> None:
    ahead = replace(OWN, producers=[replace(BROKER, last_heartbeat_ns=NOW + 1)])
    assert read("telemetry.producer.heartbeat.age", ahead) == [({"producer": "broker"}, 0.0)]


def test_a_signal_that_is_not_exported_has_no_series() -> None:
    logs_only = ExportStatus(endpoint="", logs=SignalStatus(enabled=True, requests=8), metrics=SignalStatus())
    assert read("telemetry.export.requests", replace(OWN, export=logs_only)) == [({"signal": "logs"}, 8)]


def test_a_secret_that_does_not_expire_has_no_expiry() -> None:
    assert read("sidecar.secrets.seconds_to_expiry", OWN) == [({"secret": "database"}, 600.0)]


def test_a_token_that_does_not_expire_has_no_expiry() -> None:
    endless = replace(HELD, token=replace(HELD.token, expires_in_s=None))
    assert read("sidecar.secrets.token.seconds_to_expiry", replace(OWN, secrets=endless)) == []


def test_this_process_uses_memory_time_and_descriptors() -> None:
    usage = ProcessUsage.of(psutil.Process(os.getpid()))
    assert usage.user_s > 0
    assert usage.resident_bytes > 10_000_000
    assert usage.open_fds > 2
    assert usage.started_s > 1_700_000_000
