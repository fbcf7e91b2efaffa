"""Dashboard: requests to the venue, their errors and limits."""

from __future__ import annotations

from tools.grafana.panel import Panel, Rows, latest, quantiles, rate

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
