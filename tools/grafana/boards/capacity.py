"""Dashboard: how much is used, and when it is full."""

from __future__ import annotations

from tools.grafana.panel import Panel, Query, Rows, latest, quantiles, rate

CAPACITY_BOARD: Rows = {
    "Headroom": [
        Panel(
            title="Venue tokens left",
            description="Of the limit on requests; 0 means that orders wait.",
            unit="none",
            queries=[latest("broker_ratelimit_tokens", "bucket", how="min")],
        ),
        Panel(
            title="Orders in flight",
            description="What the autoscaler looks at, besides CPU.",
            unit="none",
            queries=[latest("broker_orders_inflight", "pod")],
        ),
        Panel(
            title="Queues",
            description="Depth of each bounded queue of the broker.",
            unit="none",
            queries=[latest("broker_queue_depth", "queue")],
        ),
        Panel(
            title="History's backlog",
            description="Rows that wait for the database; the journal keeps them.",
            unit="none",
            queries=[latest("broker_history_backlog", "pod")],
        ),
        Panel(
            title="Journal in an hour",
            description="Linear forecast of the sidecar's journal against its limit.",
            unit="bytes",
            queries=[
                Query(
                    expr="predict_linear(telemetry_journal_size_bytes{<select>}[15m], 3600)", legend="forecast {{pod}}"
                ),
                latest("telemetry_journal_limit_bytes", "pod", name="limit"),
            ],
        ),
        Panel(
            title="Loop lag, p99",
            description="How late the sidecar's loop is; CPU that it lacks shows here first.",
            unit="s",
            queries=quantiles("sidecar_loop_lag_seconds", "pod")[1:],
        ),
    ],
    "Service (RED) and resources (USE)": [
        Panel(
            title="Order API: rate",
            description="Requests a second, by route.",
            unit="reqps",
            queries=[rate("broker_http_requests_total", "route")],
        ),
        Panel(
            title="Order API: errors",
            description="Answers of 5xx, a second.",
            unit="reqps",
            queries=[rate("broker_http_requests_total", "route", more='status_class="5xx"')],
        ),
        Panel(
            title="Order API: duration, p99",
            description="By route.",
            unit="s",
            queries=quantiles("broker_http_request_duration_seconds", "route")[1:],
        ),
        Panel(
            title="Memory",
            description="Working set of each container, as the kubelet counts it.",
            unit="bytes",
            queries=[
                Query(
                    expr='sum by (container) (container_memory_working_set_bytes{<select>,container!=""})',
                    legend="{{container}}",
                )
            ],
        ),
    ],
}
