from __future__ import annotations

from datetime import UTC, datetime

from broker.orders.conditions import BrokerCondition, Conditions


def test_condition_keeps_its_since_while_nothing_turns() -> None:
    times = iter(datetime(2026, 1, 5, 12, minute, tzinfo=UTC) for minute in range(9))
    conditions = Conditions(lambda: next(times))
    for message in ("a", "b"):
        conditions.set(BrokerCondition.VENUE, ok=False, reason="NotSent", message=message)
    first = conditions.fault()
    assert first is not None
    assert (first.since.minute, first.message) == (0, "b")
    conditions.set(BrokerCondition.VENUE, ok=True, reason="Ready")
    conditions.set(BrokerCondition.TRADING, ok=False, reason="Halted", advisory=True)
    assert conditions.fault() is None
    assert [item.since.minute for item in conditions.all()] == [3, 2]
