from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from tools.figures import placed
from tools.scale import PAGE, Plan, Pod, Prices, fleet, main, monthly_cost, tables, with_inputs

POD = Pod(idle_events_per_s=10, events_per_order=20, records_per_order=5, series=300, record_bytes=400)


def test_a_fleet_is_its_pods_times_what_one_makes() -> None:
    made = fleet(POD, Plan(), pods=1000, orders_per_s=2)
    assert (made.events, made.records, made.series) == (50_000, 10_000, 300_000)
    assert made.samples == 20_000
    assert made.log_bytes_per_day == 345_600_000_000


def test_each_series_is_held_by_as_many_ingesters_as_it_has_copies() -> None:
    made = fleet(POD, Plan(replication=3), pods=1000, orders_per_s=0)
    assert (made.mimir_ingester_cores, made.mimir_ingester_gib) == (3, 7.5)


def test_a_day_of_logs_is_paid_for_each_copy_and_each_day_kept() -> None:
    made = fleet(POD, Plan(), pods=1000, orders_per_s=2)
    one = monthly_cost(made, Plan(log_days=1, log_copies=1), Prices(gib_disk=1))["logs on disk"]
    assert one == pytest.approx(321.9, abs=0.1)
    month = monthly_cost(made, Plan(log_days=30, log_copies=2, log_disk_ratio=0.5), Prices(gib_disk=1))
    assert month["logs on disk"] == pytest.approx(30 * one)


def test_an_input_is_replaced_by_its_name() -> None:
    pod, plan, prices = with_inputs({"series": 900, "scrape_s": 30, "core": 40})
    assert (pod.series, plan.scrape_s, prices.core) == (900, 30, 40)


def test_an_input_that_is_not_there_is_a_fault() -> None:
    with pytest.raises(click.BadParameter, match="cores: no such input"):
        with_inputs({"cores": 1})


def test_every_price_is_called_an_assumption() -> None:
    lines = CliRunner().invoke(main, ["--inputs"]).output.splitlines()
    assert [line for line in lines if "gib" in line or "`core`" in line][-3:] == [
        "| `core` | 25 | **assumption** |",
        "| `gib_memory` | 3 | **assumption** |",
        "| `gib_disk` | 0.1 | **assumption** |",
    ]


def without_measurements(page: str) -> list[str]:
    return [line for line in page.splitlines() if not line.startswith("| `sidecar_throughput")]


def test_the_page_has_the_tables_that_the_command_makes() -> None:
    page = PAGE.read_text(encoding="utf-8")
    made = placed(page, tables({}, pods=10_000, orders_per_s=0.5))
    assert without_measurements(made) == without_measurements(page), "run python -m tools.scale --write"
