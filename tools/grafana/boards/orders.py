"""Dashboard: what becomes of orders, how fast, and why not."""

from __future__ import annotations

from tools.grafana.panel import Panel, Rows, latest, quantiles, rate, rise

ORDERS = "broker_orders_total"
ORDER_BOARD: Rows = {
    "Flow": [
        Panel(
            title="Orders by status",
            description="Statuses reached, a second.",
            unit="ops",
            queries=[rate(ORDERS, "status")],
        ),
        Panel(
            title="Fills",
            description="Trades made, a second, by side.",
            unit="ops",
            queries=[rate("broker_fills_total", "side")],
        ),
        Panel(
            title="Rejects by reason",
            description="By the venue and by risk: how many in an interval of the graph.",
            unit="none",
            queries=[rise("broker_order_rejects_total", "reason")],
        ),
        Panel(
            title="Cancels by reason",
            description="Ended without a trade, a second.",
            unit="ops",
            queries=[rate("broker_order_cancels_total", "reason")],
        ),
    ],
    "Latency": [
        Panel(
            title="Order",
            description="Receipt to answer.",
            unit="s",
            queries=quantiles("broker_order_duration_seconds"),
        ),
        Panel(
            title="Stages, p99",
            description="Where the time goes.",
            unit="s",
            queries=quantiles("broker_order_stage_duration_seconds", "stage")[1:],
        ),
        Panel(
            title="Journal to disk",
            description="Grouped fdatasync; every order waits for one.",
            unit="s",
            queries=quantiles("broker_journal_fsync_seconds"),
        ),
        Panel(
            title="Slippage",
            description="Fill against the decision's price, in pips; positive is worse.",
            unit="none",
            queries=quantiles("broker_slippage_pips", "side"),
            signed=True,
        ),
    ],
    "Outcome unknown": [
        Panel(
            title="Unknown and unresolved",
            description="Must be zero at rest.",
            unit="none",
            queries=[
                latest("broker_orders_unknown", "pod", name="unknown"),
                latest("broker_journal_unresolved", "pod", name="unresolved"),
            ],
        ),
        Panel(
            title="Resolutions",
            description="How lost answers were settled.",
            unit="ops",
            queries=[rate("broker_unknown_resolutions_total", "result")],
        ),
        Panel(
            title="In flight",
            description="Orders between receipt and answer.",
            unit="none",
            queries=[latest("broker_orders_inflight", "pod")],
        ),
        Panel(
            title="Same client id again",
            description="Replayed (the first result) or refused (another body).",
            unit="ops",
            queries=[rate("broker_duplicate_requests_total", "action")],
        ),
    ],
}
