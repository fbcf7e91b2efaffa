"""The audit trail."""

from __future__ import annotations

import logging

import pytest

from sidecar.secrets.audit import AuditTrail, hashed
from tests.unit.sidecar.secrets.agent_harness import AuditRecorder
from tests.unit.sidecar.secrets.fake_clock import FakeClock


def test_an_event_is_dated_and_leaves_out_what_is_empty() -> None:
    recorder, clock = AuditRecorder(), FakeClock()
    AuditTrail(clock, recorder).record("secrets.renew", secret="database", generation=2, lease="", ttl_s=60.0)
    assert recorder[0].time == clock.wall()
    assert recorder[0].flat() == {"outcome": "ok", "secret": "database", "generation": 2, "ttl_s": 60.0}


@pytest.mark.parametrize(("outcome", "level"), [("ok", logging.INFO), ("denied", logging.WARNING)])
def test_without_a_sink_events_go_to_the_log(caplog: pytest.LogCaptureFixture, outcome: str, level: int) -> None:
    caplog.set_level(logging.INFO)
    AuditTrail(FakeClock(), None).record("secrets.read", outcome=outcome)
    assert [(item.levelno, item.message) for item in caplog.records] == [(level, "secrets.read")]


def test_an_identifier_is_hashed_and_its_absence_stays_visible() -> None:
    assert hashed("lease-1") == hashed("lease-1") != hashed("lease-2")
    assert "lease" not in hashed("lease-1")
    assert hashed("") == ""
