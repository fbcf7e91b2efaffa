"""Dashboard: prices and transactions: how old, how far behind."""

from __future__ import annotations

from tools.grafana.panel import Panel, Rows, latest, rate

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
