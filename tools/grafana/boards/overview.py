"""Dashboard: is it well, and what burns."""

from __future__ import annotations

from tools.grafana.panel import FULL, Panel, Query, Rows, latest, quantiles, rate


def _budget(slo: str) -> Panel:
    expr = f'1 - slo:error:ratio_3d{{slo="{slo}"}} / (1 - slo:objective:ratio{{slo="{slo}"}})'
    return Panel(
        title=f"Budget left: {slo}",
        description="Share of the error budget that is left at the error ratio of the last three days.",
        unit="percentunit",
        queries=[Query(expr=expr, legend=slo)],
        width=4,
        single=True,
    )


ORDERS = "broker_orders_total"
OVERVIEW: Rows = {
    "Objectives": [
        *(_budget(slo) for slo in ("order-availability", "order-latency", "price-freshness", "telemetry-ledger")),
        _budget("secret-freshness"),
        Panel(
            title="Market open",
            description="1 while the FX market is open; objectives with a gate count only then.",
            unit="none",
            queries=[Query(expr="market:open", legend="open")],
            width=4,
            single=True,
        ),
        Panel(
            title="Error ratio by objective",
            description="Share of bad events in the last hour.",
            unit="percentunit",
            queries=[Query(expr="slo:error:ratio_1h", legend="{{slo}}")],
            width=FULL,
        ),
    ],
    "Is it working?": [
        Panel(
            title="Orders by status",
            description="Statuses that orders reach, a second.",
            unit="ops",
            queries=[rate(ORDERS, "status")],
        ),
        Panel(
            title="Time to an answer",
            description="From the API's receipt to the status that the caller is told.",
            unit="s",
            queries=quantiles("broker_order_duration_seconds"),
        ),
        Panel(
            title="Channels to the venue",
            description="1 is up.",
            unit="none",
            queries=[latest("broker_connection_status", "channel", how="min")],
            maximum=1,
        ),
        Panel(
            title="Trading state",
            description="1 for the state that holds.",
            unit="none",
            queries=[latest("broker_trading_state", "state")],
            maximum=1,
        ),
    ],
}
