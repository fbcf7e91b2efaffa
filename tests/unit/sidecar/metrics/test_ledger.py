from __future__ import annotations

import json
from collections import Counter

from sidecar.metrics.ledger import EventLedger, LedgerCounts, LogLedger, SidecarLedger


def counted() -> LedgerCounts:
    counts = LedgerCounts()
    broker = counts.of("broker")
    broker.received, broker.counted, broker.duplicate = 9, 6, 1
    broker.rejected["column_length"] = 2
    counts.of("other").received = counts.of("other").counted = 4
    counts.logs.accepted, counts.logs.exported = 8, 3
    counts.logs.rejected["too_old"] = 1
    counts.logs.dropped["journal_full", "chatter"] = 2
    return counts


def test_the_ledger_sums_its_producers_and_balances() -> None:
    ledger = counted().ledger(queued=2)
    assert ledger.events == EventLedger(received=13, counted=10, duplicate=1, rejected=Counter({"column_length": 2}))
    assert ledger.balanced


def test_a_record_that_is_in_no_place_unbalances_the_ledger() -> None:
    assert not counted().ledger(queued=1).balanced
    assert not SidecarLedger(events=EventLedger(received=1), logs=LogLedger()).balanced


def test_counts_come_back_into_the_object_that_the_log_queue_counts_into() -> None:
    captured, counts = json.loads(json.dumps(counted().capture())), LedgerCounts()
    logs = counts.logs
    counts.restore(captured)
    assert counts.logs is logs
    assert counts.ledger(queued=2) == counted().ledger(queued=2)
