"""`python -m tools.scale --pods 10000 --orders-per-s 0.5 --set core=30`: what a fleet makes and costs.

Every input has its source: a measured figure, a row of bench/results.json, a vendor's guide, or an assumption, which
is yours to replace. `--write` puts the tables of 10,000 pods into docs/scaling.md.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from tools.figures import placed
from tools.reference.markdown import code, table

DAY_S = 86_400
GIB = 1 << 30
ROOT = Path(__file__).resolve().parents[1]
RESULTS, PAGE = ROOT / "bench" / "results.json", ROOT / "docs" / "scaling.md"
ASSUMED = "**assumption**"
RUN = "`make run` at 0, 2 and 20 orders a second"
MIMIR = "grafana.com/docs/mimir, planning of capacity"


def _input(value: float, source: str) -> Any:
    return field(default=value, metadata={"source": source})


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """Telemetry that one pod makes."""

    idle_events_per_s: float = _input(5.0, RUN)
    events_per_order: float = _input(15.6, RUN)
    records_per_order: float = _input(4.4, RUN)
    series: float = _input(913, RUN + "; 22 of them the broker's own process")
    record_bytes: float = _input(394, RUN + "; JSON, without the resource's attributes")
    sidecar_idle_cores: float = _input(0.02, RUN)
    sidecar_us_per_event: float = _input(164.0, RUN + "; beyond idle, in batches of a few events")
    sidecar_mib: float = _input(78, RUN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Scraping and retention, and the engines' needs for them."""

    scrape_s: float = _input(15, "`examples/scale/prometheus-agent.yaml`")
    replication: float = _input(3, "`examples/scale/mimir.yaml`")
    sample_bytes: float = _input(1.5, "prometheus.io/docs, storage: 1 to 2")
    series_per_ingester_core: float = _input(300_000, MIMIR)
    ingester_gib_per_core: float = _input(2.5, MIMIR)
    samples_per_distributor_core: float = _input(25_000, MIMIR)
    log_days: float = _input(90, "`k8s/logging/ilm`")
    log_copies: float = _input(2, ASSUMED)
    log_disk_ratio: float = _input(
        1.0, ASSUMED + ": stored bytes for each byte of JSON; measure yours, 1 is no compression"
    )
    metric_days: float = _input(90, "`examples/scale/mimir.yaml`")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Dollars a month; put in your own."""

    core: float = _input(25.0, ASSUMED)
    gib_memory: float = _input(3.0, ASSUMED)
    gib_disk: float = _input(0.1, ASSUMED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Telemetry of all pods together, a second unless the name says otherwise."""

    events: float
    records: float
    series: float
    samples: float
    log_bytes_per_day: float
    sample_bytes_per_day: float
    sidecar_cores: float
    sidecar_gib: float
    mimir_ingester_cores: float
    mimir_ingester_gib: float
    mimir_distributor_cores: float


def fleet(pod: Pod, plan: Plan, *, pods: int, orders_per_s: float) -> Fleet:
    """The arithmetic; `orders_per_s` is the mean of one pod."""
    records = pods * orders_per_s * pod.records_per_order
    samples = pods * pod.series / plan.scrape_s
    held = pods * pod.series * plan.replication
    busy_us = orders_per_s * pod.events_per_order * pod.sidecar_us_per_event
    return Fleet(
        events=pods * (pod.idle_events_per_s + orders_per_s * pod.events_per_order),
        records=records,
        series=pods * pod.series,
        samples=samples,
        log_bytes_per_day=records * pod.record_bytes * DAY_S,
        sample_bytes_per_day=samples * plan.sample_bytes * DAY_S,
        sidecar_cores=pods * (pod.sidecar_idle_cores + busy_us / 1e6),
        sidecar_gib=pods * pod.sidecar_mib / 1024,
        mimir_ingester_cores=held / plan.series_per_ingester_core,
        mimir_ingester_gib=held / plan.series_per_ingester_core * plan.ingester_gib_per_core,
        mimir_distributor_cores=samples / plan.samples_per_distributor_core,
    )


def monthly_cost(made: Fleet, plan: Plan, prices: Prices) -> dict[str, float]:
    """Dollars a month by tier; what Elasticsearch computes with is not measured and is not here."""
    metric_cores = made.mimir_ingester_cores + made.mimir_distributor_cores
    stored_logs = made.log_bytes_per_day * plan.log_days * plan.log_copies * plan.log_disk_ratio
    return {
        "sidecars": made.sidecar_cores * prices.core + made.sidecar_gib * prices.gib_memory,
        "metrics in memory": metric_cores * prices.core + made.mimir_ingester_gib * prices.gib_memory,
        "metrics on disk": made.sample_bytes_per_day * plan.metric_days / GIB * prices.gib_disk,
        "logs on disk": stored_logs / GIB * prices.gib_disk,
    }


def with_inputs(chosen: Mapping[str, float]) -> tuple[Pod, Plan, Prices]:
    """The inputs, with some of them replaced by name.

    Raises:
        click.BadParameter: there is no input of that name.
    """
    kinds = (Pod, Plan, Prices)
    if unknown := sorted(set(chosen) - {item.name for kind in kinds for item in dataclasses.fields(kind)}):
        raise click.BadParameter(f"{', '.join(unknown)}: no such input; --inputs lists them")

    def given(kind: type[Pod | Plan | Prices]) -> dict[str, float]:
        return {item.name: chosen[item.name] for item in dataclasses.fields(kind) if item.name in chosen}

    return Pod(**given(Pod)), Plan(**given(Plan)), Prices(**given(Prices))


def input_rows(*inputs: Any) -> Iterator[tuple[str, str, str]]:
    """Name, value and source of each input."""
    for item in inputs:
        for part in dataclasses.fields(item):
            yield code(part.name), f"{getattr(item, part.name):,.10g}", part.metadata["source"]


def bench_rows(results: list[dict[str, Any]], pod: Pod, orders_per_s: float) -> Iterator[tuple[str, str, str]]:
    """Distance of one pod from the figures that `make bench` has of one sidecar."""
    rate = pod.idle_events_per_s + orders_per_s * pod.events_per_order
    for name in ("sidecar_throughput_metrics", "sidecar_throughput_logs"):
        row = next(item for item in results if item["name"] == name)
        yield code(name), f"{row['ours']:,.0f} events/s", f"{row['ours'] / rate:,.0f} times what such a pod makes"


def tables(chosen: Mapping[str, float], *, pods: int, orders_per_s: float) -> str:
    """Inputs, what a fleet of them makes, and what that costs."""
    pod, plan, prices = with_inputs(chosen)
    made = fleet(pod, plan, pods=pods, orders_per_s=orders_per_s)
    rows = [(name.replace("_", " "), f"{getattr(made, name):,.0f}") for name in Fleet.__slots__]
    cost = monthly_cost(made, plan, prices)
    per_thousand = [(name, f"{dollars / pods * 1000:,.0f}") for name, dollars in cost.items()]
    per_thousand.append(("all of it", f"{sum(cost.values()) / pods * 1000:,.0f}"))
    parts = [
        table(("input", "value", "from"), input_rows(pod, plan, prices)),
        table(
            ("`bench/results.json`", "measured", "so"), bench_rows(json.loads(RESULTS.read_text()), pod, orders_per_s)
        ),
        table((f"{pods:,} pods at {orders_per_s:g} orders/s", "a second, or as it says"), rows),
        table(("tier", "dollars a month for 1,000 pods"), per_thousand),
    ]
    return "\n".join(parts)


def write_page() -> None:
    """Puts the tables of 10,000 pods into the page."""
    text = tables({}, pods=10_000, orders_per_s=0.5)
    PAGE.write_text(placed(PAGE.read_text(encoding="utf-8"), text), encoding="utf-8")


def _pairs(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, float]:
    try:
        return {name: float(value) for name, _, value in (item.partition("=") for item in given)}
    except ValueError as error:
        raise click.BadParameter("write NAME=NUMBER, for example core=30") from error


@click.command()
@click.option("--pods", default=10_000, type=click.IntRange(min=1), show_default=True)
@click.option("--orders-per-s", default=0.5, type=click.FloatRange(min=0), show_default=True, help="Mean of one pod.")
@click.option("--set", "chosen", multiple=True, callback=_pairs, help="NAME=NUMBER: an input of your own; repeatable.")
@click.option("--inputs", is_flag=True, help="List the inputs, their values and sources; then end.")
@click.option("--write", is_flag=True, help="Put the tables into docs/scaling.md.")
def main(pods: int, orders_per_s: float, chosen: dict[str, float], inputs: bool, write: bool) -> None:
    """Prints what a fleet makes and costs, as tables."""
    if inputs:
        click.echo(table(("input", "value", "from"), input_rows(*with_inputs(chosen))), nl=False)
        return
    text = tables(chosen, pods=pods, orders_per_s=orders_per_s)
    if write:
        write_page()
    else:
        click.echo(text, nl=False)


if __name__ == "__main__":
    main()
