"""The dashboards: what an on-call engineer looks at, in the order of the questions that they ask."""

from __future__ import annotations

from boards_service import SERVICE_BOARDS
from panel import FULL, Panel, Query, Rows, latest, quantiles, rate


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


def _share(title: str, description: str, part: str, whole: str) -> Panel:
    expr = f"sum({part}) / (sum({whole}) > 0)"
    return Panel(
        title=title,
        description=description,
        unit="percentunit",
        queries=[Query(expr=expr, legend="share")],
        maximum=1,
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
            description="By the venue and by risk, a second.",
            unit="ops",
            queries=[rate("broker_order_rejects_total", "reason")],
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
VENUE_BOARD: Rows = {
    "Requests": [
        Panel(
            title="Requests by class",
            description="Answers of the venue, a second.",
            unit="reqps",
            queries=[rate("broker_api_requests_total", "status_class")],
        ),
        Panel(
            title="Errors by type",
            description="Failed requests, a second.",
            unit="reqps",
            queries=[rate("broker_api_errors_total", "error_type")],
        ),
        Panel(
            title="Latency by operation, p99",
            description="The venue's own time and the network's.",
            unit="s",
            queries=quantiles("broker_api_request_duration_seconds", "operation")[1:],
        ),
        Panel(
            title="Repeated reads",
            description="GETs tried again; writes never are.",
            unit="reqps",
            queries=[rate("broker_api_retries_total", "operation")],
        ),
    ],
    "Limits": [
        Panel(
            title="Tokens left",
            description="Of the venue's rate limit, by bucket.",
            unit="none",
            queries=[latest("broker_ratelimit_tokens", "bucket", how="min")],
        ),
        Panel(
            title="Wait for the limit, p99",
            description="How long requests are held back.",
            unit="s",
            queries=quantiles("broker_ratelimit_wait_seconds", "bucket")[1:],
        ),
        Panel(
            title="429",
            description="The venue's own refusals; each is a fault of ours or of a neighbour's.",
            unit="reqps",
            queries=[rate("broker_http_429_total", "operation")],
        ),
        Panel(
            title="Connections opened",
            description="The venue allows two new ones a second.",
            unit="ops",
            queries=[rate("broker_connections_opened_total", "channel")],
        ),
    ],
}
STREAM_BOARD: Rows = {
    "Streams": [
        Panel(
            title="Age of the last message",
            description="Heartbeats come every 5 s.",
            unit="s",
            queries=[latest("broker_stream_last_message_age_seconds", "stream")],
        ),
        Panel(
            title="Reconnects by cause",
            description="A second.",
            unit="ops",
            queries=[rate("broker_stream_reconnects_total", "cause")],
        ),
        Panel(
            title="Transactions that a back-fill brought",
            description="What the stream missed, a second.",
            unit="ops",
            queries=[rate("broker_stream_gap_transactions_total", "pod")],
        ),
        Panel(
            title="Behind the venue",
            description="Transactions between the venue's last and ours.",
            unit="none",
            queries=[latest("broker_transaction_lag", "pod")],
        ),
    ],
    "Prices": [
        Panel(
            title="Age by instrument",
            description="Quiet is not stale: see the stream's age too.",
            unit="s",
            queries=[latest("broker_price_age_seconds", "instrument")],
        ),
        Panel(
            title="Tradeable",
            description="1 where the venue takes orders.",
            unit="none",
            queries=[latest("broker_instrument_tradeable", "instrument", how="min")],
            maximum=1,
        ),
    ],
}
RISK_BOARD: Rows = {
    "Checks": [
        Panel(
            title="Denials by check",
            description="Orders refused before the venue saw them, a second.",
            unit="ops",
            queries=[rate("broker_risk_checks_total", "check", more='result="denied"')],
        ),
        Panel(
            title="Limits in use",
            description="1 is full.",
            unit="percentunit",
            queries=[latest("broker_risk_limit_utilisation", "limit")],
            maximum=1,
        ),
    ],
    "Account": [
        Panel(
            title="Balance and NAV",
            description="In the account's currency.",
            unit="none",
            queries=[
                latest("broker_account_balance", "currency", name="balance"),
                latest("broker_account_nav", "currency", name="NAV"),
            ],
        ),
        Panel(
            title="Margin",
            description="Used and available.",
            unit="none",
            queries=[
                latest("broker_margin_used", "currency", name="used"),
                latest("broker_margin_available", "currency", name="available"),
            ],
        ),
        Panel(
            title="Closeout ratio",
            description="The venue closes positions at 1.",
            unit="percentunit",
            queries=[latest("broker_margin_closeout_ratio", "pod")],
            maximum=1,
        ),
        Panel(
            title="Positions",
            description="Net units of the instruments on the allow-list.",
            unit="none",
            queries=[latest("broker_position_units", "instrument")],
            signed=True,
        ),
    ],
}
TELEMETRY_BOARD: Rows = {
    "Ledger": [
        Panel(
            title="Events",
            description="Received and counted, a second.",
            unit="ops",
            queries=[
                rate("telemetry_events_received_total", "producer", name="received"),
                rate("telemetry_events_counted_total", "producer", name="counted"),
            ],
        ),
        Panel(
            title="Not counted",
            description="Dropped by the producer, rejected by the sidecar.",
            unit="ops",
            queries=[
                rate("telemetry_dropped_total", "reason", name="dropped"),
                rate("telemetry_events_rejected_total", "reason", name="rejected"),
            ],
        ),
        Panel(
            title="Held by producers",
            description="Events between emit() and acknowledgement.",
            unit="none",
            queries=[latest("telemetry_producer_held", "producer")],
        ),
        Panel(
            title="Heartbeat age",
            description="Of each producer.",
            unit="s",
            queries=[latest("telemetry_producer_heartbeat_age_seconds", "producer")],
        ),
    ],
    "Logs": [
        Panel(
            title="Records",
            description="Accepted and exported, a second.",
            unit="ops",
            queries=[
                rate("telemetry_logs_accepted_total", "pod", name="accepted"),
                rate("telemetry_logs_exported_total", "pod", name="exported"),
            ],
        ),
        Panel(
            title="Backlog",
            description="Records that wait for the collector.",
            unit="none",
            queries=[latest("telemetry_logs_queued", "pod")],
        ),
        Panel(
            title="Time without an export",
            description="By signal; 0 while they succeed.",
            unit="s",
            queries=[latest("telemetry_export_failing_seconds", "signal")],
        ),
        Panel(
            title="Export requests, p99",
            description="How long the collector takes.",
            unit="s",
            queries=quantiles("telemetry_export_duration_seconds", "signal")[1:],
        ),
    ],
    "Journal and series": [
        Panel(
            title="Journal",
            description="Bytes used, and the limit.",
            unit="bytes",
            queries=[
                latest("telemetry_journal_size_bytes", "pod", name="used"),
                latest("telemetry_journal_limit_bytes", "pod", name="limit"),
            ],
        ),
        Panel(
            title="Series",
            description="By producer; overflow means that a label has too many values.",
            unit="none",
            queries=[latest("telemetry_series", "producer")],
        ),
    ],
}
SECRETS_BOARD: Rows = {
    "Lives": [
        Panel(
            title="Until expiry",
            description="Seconds that each published secret still lives.",
            unit="s",
            queries=[latest("sidecar_secrets_seconds_to_expiry", "secret", how="min")],
        ),
        Panel(
            title="Vault token",
            description="Seconds that the sidecar's own token still lives.",
            unit="s",
            queries=[latest("sidecar_secrets_token_seconds_to_expiry", "pod", how="min")],
        ),
    ],
    "Rotation": [
        Panel(
            title="Generation",
            description="Published, and proved by use; they differ only while a rotation is under way.",
            unit="none",
            queries=[
                latest("sidecar_secrets_generation_published", "pod", name="published"),
                latest("sidecar_secrets_generation_acknowledged", "pod", name="proved"),
            ],
        ),
        Panel(
            title="Reads by reason",
            description="Why secrets were read, a second.",
            unit="ops",
            queries=[rate("sidecar_secrets_reads_total", "reason")],
        ),
        Panel(
            title="Leases held",
            description="By Vault's count for us; those that await retirement are on top of one a secret.",
            unit="none",
            queries=[
                latest("sidecar_secrets_leases", "pod", name="held"),
                latest("sidecar_secrets_awaiting_retirement", "pod", name="awaiting retirement"),
            ],
        ),
        Panel(
            title="Requests to Vault",
            description="By outcome, a second.",
            unit="reqps",
            queries=[rate("sidecar_secrets_requests_total", "outcome")],
        ),
    ],
}
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
                    expr="predict_linear(telemetry_journal_size_bytes{<select>}[15m], 3600)",
                    legend="forecast {{pod}}",
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
BOARDS: dict[str, tuple[str, str, Rows]] = {
    "broker-overview": ("Broker: overview", "Objectives first, then what moves.", OVERVIEW),
    "broker-orders": ("Broker: orders", "What happens to orders, and where their time goes.", ORDER_BOARD),
    "broker-venue": ("Broker: venue API", "Requests to OANDA, their errors and limits.", VENUE_BOARD),
    "broker-streams": ("Broker: streams", "Prices and transactions as they come.", STREAM_BOARD),
    "broker-risk": ("Broker: risk and account", "Checks, limits, margin and positions.", RISK_BOARD),
    "broker-secrets": ("Sidecar: secrets", "How long each lives, and who proved it.", SECRETS_BOARD),
    "broker-capacity": ("Broker: capacity", "What is left of every limit.", CAPACITY_BOARD),
    "broker-telemetry": (
        "Sidecar: telemetry path",
        "From emit() to the collector, with every loss.",
        TELEMETRY_BOARD,
    ),
    **SERVICE_BOARDS,
}
