"""Dashboard: limits, positions, the trading state."""

from __future__ import annotations

from tools.grafana.panel import Panel, Rows, latest, rate

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
