from __future__ import annotations

import pytest

from tests.unit.sidecar.telemetry_core import TelemetryCore


@pytest.mark.parametrize(
    "payload", [b"?", b"?12345678", b"S", b"X12", b"D\x01\x00\x00\x00\xff\xff", b"B\x09\x00\x00\x00" + bytes(12)]
)
def test_a_record_that_says_nothing_is_counted_and_left_out(payload: bytes) -> None:
    core = TelemetryCore()
    core.send("a", "s1", 3, 1)
    core.journal.append([payload])
    core.send("a", "s1", 3, 4)
    again = core.killed()
    assert again.stream("a", "s1").state.durable_through == 6
    assert (again.replayed.batches, again.replayed.unreadable) == (2, 1)
