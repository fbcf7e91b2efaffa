"""`python -m scripts.scale --pods 10000 --orders-per-s 0.5`: what a fleet makes, from measured figures of one pod.

docs/scaling.md says where each figure comes from.
"""

from __future__ import annotations

from dataclasses import dataclass

import click

DAY_S = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """What one pod makes. Defaults as measured on 24 November 2026 with `make run` at 2 and 20 orders a second."""

    idle_events_per_s: float = 12.0
    events_per_order: float = 17.1
    records_per_order: float = 5.2
    series: int = 840
    record_bytes: int = 394
    """Of JSON, without the resource's attributes."""
    sidecar_idle_cores: float = 0.02
    sidecar_us_per_event: float = 164.0
    """Beyond idle, in batches of a few events as at these rates; in full ones it is 5.9 µs, log record included."""
    sidecar_mib: int = 78


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """What all pods make together, a second unless the name says otherwise."""

    events: float
    records: float
    series: int
    samples: float
    log_bytes_per_day: float
    sample_bytes_per_day: float
    sidecar_cores: float
    sidecar_gib: float
    mimir_ingester_cores: float
    mimir_ingester_gib: float
    mimir_distributor_cores: float


def fleet(pod: Pod, *, pods: int, orders_per_s: float, scrape_s: float = 15.0, replication: int = 3) -> Fleet:
    """The arithmetic; `orders_per_s` is the mean of one pod.

    Mimir: a core and 2.5 GiB for 300,000 series in memory, each held `replication` times, and a distributor core for
    25,000 samples a second (grafana.com/docs/mimir, "Planning Grafana Mimir capacity"). A stored sample takes 1.5
    bytes (prometheus.io/docs/prometheus/latest/storage says 1 to 2).
    """
    records = pods * orders_per_s * pod.records_per_order
    events = pods * (pod.idle_events_per_s + orders_per_s * pod.events_per_order)
    samples = pods * pod.series / scrape_s
    held = pods * pod.series * replication
    return Fleet(
        events=events,
        records=records,
        series=pods * pod.series,
        samples=samples,
        log_bytes_per_day=records * pod.record_bytes * DAY_S,
        sample_bytes_per_day=samples * 1.5 * DAY_S,
        sidecar_cores=pods * pod.sidecar_idle_cores
        + pods * orders_per_s * pod.events_per_order * pod.sidecar_us_per_event / 1e6,
        sidecar_gib=pods * pod.sidecar_mib / 1024,
        mimir_ingester_cores=held / 300_000,
        mimir_ingester_gib=held / 300_000 * 2.5,
        mimir_distributor_cores=samples / 25_000,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """In dollars a month. Put in your own: these are round list prices of a large cloud."""

    core: float = 25.0
    gib_memory: float = 3.0
    gib_disk: float = 0.1


def monthly_cost(
    made: Fleet, prices: Prices, *, log_days: int = 90, log_copies: int = 2, metric_days: int = 90
) -> dict[str, float]:
    """Dollars a month by tier; what Elasticsearch computes with is not measured and is not here."""
    gib = 1 << 30
    return {
        "sidecars": made.sidecar_cores * prices.core + made.sidecar_gib * prices.gib_memory,
        "metrics in memory": (made.mimir_ingester_cores + made.mimir_distributor_cores) * prices.core
        + made.mimir_ingester_gib * prices.gib_memory,
        "metrics on disk": made.sample_bytes_per_day * metric_days / gib * prices.gib_disk,
        "logs on disk": made.log_bytes_per_day * log_days * log_copies / gib * prices.gib_disk,
    }


@click.command()
@click.option("--pods", default=10_000, type=click.IntRange(min=1), show_default=True)
@click.option("--orders-per-s", default=0.5, type=click.FloatRange(min=0), show_default=True, help="Mean of one pod.")
def main(pods: int, orders_per_s: float) -> None:
    """Prints what a fleet makes and costs, as a table."""
    made = fleet(Pod(), pods=pods, orders_per_s=orders_per_s)
    for name in Fleet.__slots__:
        click.echo(f"| {name.replace('_', ' ')} | {getattr(made, name):,.0f} |")
    for tier, dollars in monthly_cost(made, Prices()).items():
        click.echo(f"| {tier}, dollars a month for 1000 pods | {dollars / pods * 1000:,.0f} |")


if __name__ == "__main__":
    main()
