"""Settings of the console."""

from __future__ import annotations

from dataclasses import dataclass

from pod_runtime.config import setting
from pod_runtime.ports import parse_address


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelSettings:
    """One figure of the console, made from one instrument."""

    title: str = setting(doc="what people read")
    instrument: str = setting(doc="name of the instrument as declared by the producer, for example broker.orders")
    show: str = setting(
        "rate",
        choices=("rate", "latency", "states", "value"),
        doc="rate: a counter's speed; latency: a histogram's p50 and p99; states: totals by `by`; value: a gauge",
    )
    by: str = setting("", doc="label whose values stand apart; empty: all in one")


BROKER_PANELS = (
    PanelSettings(title="Orders by state", instrument="broker.orders", show="states", by="status"),
    PanelSettings(title="Order latency", instrument="broker.order.duration", show="latency"),
    PanelSettings(title="Venue latency", instrument="broker.api.request.duration", show="latency"),
    PanelSettings(title="Venue errors", instrument="broker.api.errors", show="rate"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleSettings:
    """Section `console`: the status page, read-only."""

    address: str = setting(
        "127.0.0.1:8090", doc="host:port; loopback, for the page asks nobody who they are; empty: no console"
    )
    allowed_hosts: tuple[str, ...] = setting(
        ("localhost", "127.0.0.1", "[::1]"),
        doc="names in the Host header that are answered; others are refused, against DNS rebinding",
    )
    interval_s: float = setting(1.0, minimum=0.1, maximum=60, doc="seconds between two points of the page's curves")
    history_s: float = setting(300.0, minimum=10, maximum=3600, doc="seconds that the curves reach back")
    max_watchers: int = setting(8, minimum=1, maximum=100, doc="pages and tails open at once; one more is 503")
    panels: tuple[PanelSettings, ...] = setting(BROKER_PANELS, doc="figures of the producer's instruments")

    def __post_init__(self) -> None:
        if self.address:
            parse_address(self.address)
