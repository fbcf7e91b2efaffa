from __future__ import annotations

import pytest

from scripts.scale import Pod, Prices, fleet, monthly_cost

POD = Pod(idle_events_per_s=10, events_per_order=20, records_per_order=5, series=300, record_bytes=400)


def test_a_fleet_is_its_pods_times_what_one_makes() -> None:
    made = fleet(POD, pods=1000, orders_per_s=2)
    assert (made.events, made.records, made.series) == (50_000, 10_000, 300_000)
    assert made.samples == 20_000
    assert made.log_bytes_per_day == 345_600_000_000


def test_each_series_is_held_by_as_many_ingesters_as_it_has_copies() -> None:
    made = fleet(POD, pods=1000, orders_per_s=0, replication=3)
    assert (made.mimir_ingester_cores, made.mimir_ingester_gib) == (3, 7.5)


def test_a_day_of_logs_is_paid_for_each_copy_and_each_day_kept() -> None:
    made = fleet(POD, pods=1000, orders_per_s=2)
    one = monthly_cost(made, Prices(gib_disk=1), log_days=1, log_copies=1)["logs on disk"]
    assert one == pytest.approx(321.9, abs=0.1)
    assert monthly_cost(made, Prices(gib_disk=1), log_days=30, log_copies=2)["logs on disk"] == pytest.approx(
        60 * one
    )
