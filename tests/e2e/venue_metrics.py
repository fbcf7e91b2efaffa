"""The 54 metrics of trading: their labels, and which series a bad day moves."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product

STAGES = ("validate", "risk", "journal", "throttle", "http", "parse")
STREAMS = ("prices", "transactions")
BUCKETS = ("requests", "connections")


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric by its place in the table; `kind` is counter, gauge or histogram."""

    number: int
    name: str
    kind: str
    labels: tuple[str, ...] = ()
    moved: tuple[tuple[str, ...], ...] = field(default=((),))
    """Values of the first labels; of each of these, some series must have left zero."""
    still: str = ""
    """Reason for which a bad day does not move it; it must be there all the same."""

    @property
    def series(self) -> str:
        """The name of what counts."""
        return f"{self.name}_count" if self.kind == "histogram" else self.name


def each(*values: str) -> tuple[tuple[str, ...], ...]:
    return tuple((value,) for value in values)


STATUSES = each("received", "submitted", "filled", "cancelled", "denied", "rejected", "unknown", "pending")
C, G, H = "counter", "gauge", "histogram"
SIDES = each("buy", "sell")
METRICS = (
    Metric(1, "broker_orders_total", C, ("status",), STATUSES),
    Metric(2, "broker_order_duration_seconds", H, ("status",), each("filled", "denied")),
    Metric(3, "broker_order_stage_duration_seconds", H, ("stage",), each(*STAGES)),
    Metric(4, "broker_order_ack_latency_seconds", H, ("order_type",), each("market", "limit")),
    Metric(5, "broker_order_fill_latency_seconds", H, ("order_type",), each("market")),
    Metric(6, "broker_cancel_duration_seconds", H, ("outcome",), each("cancelled")),
    Metric(7, "broker_order_rejects_total", C, ("source", "reason"), (("risk",), ("venue",))),
    Metric(8, "broker_order_cancels_total", C, ("reason",), each("CLIENT_REQUEST")),
    Metric(9, "broker_fills_total", C, ("side", "partial"), SIDES),
    Metric(10, "broker_filled_units_total", C, ("side", "asset_class"), SIDES),
    Metric(11, "broker_slippage_pips", H, ("side",), SIDES),
    Metric(12, "broker_half_spread_cost_total", C),
    Metric(13, "broker_orders_inflight", G),
    Metric(14, "broker_orders_unknown", G, still="a venue that answers lets few be unknown when a sample is taken"),
    Metric(15, "broker_unknown_resolutions_total", C, ("result",)),
    Metric(16, "broker_unknown_resolution_seconds", H, ("result",)),
    Metric(17, "broker_duplicate_requests_total", C, ("action",), each("replayed")),
    Metric(
        18,
        "broker_api_requests_total",
        C,
        ("operation", "status_class"),
        (("create_order", "2xx"), ("create_order", "4xx"), ("create_order", "5xx"), ("account_summary", "2xx")),
    ),
    Metric(19, "broker_api_request_duration_seconds", H, ("operation",), each("create_order", "cancel_order")),
    Metric(20, "broker_api_errors_total", C, ("error_type",), each("rate_limited", "answer_lost", "venue_failed")),
    Metric(21, "broker_api_retries_total", C, ("operation",), each("account_summary")),
    Metric(22, "broker_ratelimit_wait_seconds", H, ("bucket",), each(*BUCKETS)),
    Metric(23, "broker_ratelimit_tokens", G, ("bucket",), each(*BUCKETS)),
    Metric(24, "broker_http_429_total", C, ("operation",), each("create_order")),
    Metric(25, "broker_connection_status", G, ("channel",), each("rest", *STREAMS)),
    Metric(26, "broker_connections_opened_total", C, ("channel",), each("rest", *STREAMS)),
    Metric(27, "broker_stream_last_message_age_seconds", G, ("stream",), each(*STREAMS)),
    Metric(28, "broker_stream_reconnects_total", C, ("stream", "cause"), tuple(product(STREAMS, ("connection_lost",)))),
    Metric(29, "broker_stream_gap_transactions_total", C),
    Metric(30, "broker_stream_decode_errors_total", C, ("stream",), each("transactions")),
    Metric(31, "broker_transaction_lag", G, still="the stream is behind for less than a sample"),
    Metric(32, "broker_reconcile_runs_total", C, ("result",), each("ok")),
    Metric(33, "broker_reconcile_mismatches_total", C, ("kind",), each("order")),
    Metric(34, "broker_reconcile_last_success_timestamp_seconds", G),
    Metric(35, "broker_open_orders", G),
    Metric(36, "broker_open_positions", G),
    Metric(37, "broker_position_units", G, ("instrument",), each("EUR_USD")),
    Metric(38, "broker_account_balance", G, ("currency",), each("USD")),
    Metric(38, "broker_account_nav", G, ("currency",), each("USD")),
    Metric(39, "broker_margin_used", G, ("currency",), each("USD")),
    Metric(39, "broker_margin_available", G, ("currency",), each("USD")),
    Metric(40, "broker_margin_closeout_ratio", G),
    Metric(41, "broker_price_age_seconds", G, ("instrument",), each("EUR_USD")),
    Metric(42, "broker_instrument_tradeable", G, ("instrument",), each("EUR_USD")),
    Metric(43, "broker_risk_checks_total", C, ("check", "result"), (("size", "denied"), ("size", "passed"))),
    Metric(44, "broker_risk_limit_utilisation", G, ("limit",), each("open_orders")),
    Metric(45, "broker_trading_state", G, ("state",), each("active")),
    Metric(46, "broker_circuit_state", G, ("state",), each("closed")),
    Metric(47, "broker_queue_depth", G, ("queue",), still="requests wait for less than a sample"),
    Metric(48, "broker_journal_fsync_seconds", H),
    Metric(49, "broker_journal_unresolved", G, still="intents are resolved before the next sample"),
    Metric(50, "broker_credential_age_seconds", G, ("secret",)),
    Metric(51, "broker_credential_reloads_total", C, ("result",), each("applied")),
    Metric(52, "broker_clock_offset_seconds", G),
    Metric(
        53,
        "telemetry_dropped_total",
        C,
        ("reason",),
        still="nothing is dropped; any producer has it, so its name has no broker",
    ),
    Metric(54, "broker_drain_duration_seconds", H, ("result",), each("complete")),
)
