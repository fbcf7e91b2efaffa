"""The dashboards: what an on-call engineer looks at, in the order of the questions that they ask."""

from __future__ import annotations

from tools.grafana.boards.capacity import CAPACITY_BOARD
from tools.grafana.boards.orders import ORDER_BOARD
from tools.grafana.boards.overview import OVERVIEW
from tools.grafana.boards.risk import RISK_BOARD
from tools.grafana.boards.secrets import SECRETS_BOARD
from tools.grafana.boards.service import SERVICE_BOARDS
from tools.grafana.boards.streams import STREAM_BOARD
from tools.grafana.boards.telemetry import TELEMETRY_BOARD
from tools.grafana.boards.venue import VENUE_BOARD
from tools.grafana.panel import Rows

BOARDS: dict[str, tuple[str, str, Rows]] = {
    "broker-overview": ("Broker: overview", "Objectives first, then what moves.", OVERVIEW),
    "broker-orders": ("Broker: orders", "What happens to orders, and where their time goes.", ORDER_BOARD),
    "broker-venue": ("Broker: venue API", "Requests to OANDA, their errors and limits.", VENUE_BOARD),
    "broker-streams": ("Broker: streams", "Prices and transactions as they come.", STREAM_BOARD),
    "broker-risk": ("Broker: risk and account", "Checks, limits, margin and positions.", RISK_BOARD),
    "broker-secrets": ("Sidecar: secrets", "How long each lives, and who proved it.", SECRETS_BOARD),
    "broker-capacity": ("Broker: capacity", "What is left of every limit.", CAPACITY_BOARD),
    "broker-telemetry": ("Sidecar: telemetry path", "From emit() to the collector, with every loss.", TELEMETRY_BOARD),
    **SERVICE_BOARDS,
}
