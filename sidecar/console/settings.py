"""Settings of the console."""

from __future__ import annotations

from dataclasses import dataclass

from pod_runtime.config import setting
from pod_runtime.listener.ports import parse_address


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelSettings:
    """Panel of the console, made from one instrument."""

    title: str = setting(doc="title of the panel")
    instrument: str = setting(doc="name of the instrument as declared by the producer, for example broker.orders")
    show: str = setting(
        "rate",
        choices=("rate", "latency", "states", "value"),
        doc="rate: a counter's speed; latency: a histogram's p50 and p99; states: totals by `by`; value: a gauge",
    )
    by: str = setting("", doc="label whose values are shown apart; empty: all added up")


# Defaults for the broker. They are a setting, because the sidecar itself knows nothing of trading.
BROKER_PANELS = (
    PanelSettings(title="Orders by state", instrument="broker.orders", show="states", by="status"),
    PanelSettings(title="Order latency", instrument="broker.order.duration", show="latency"),
    PanelSettings(title="Venue latency", instrument="broker.api.request.duration", show="latency"),
    PanelSettings(title="Venue errors", instrument="broker.api.errors", show="rate"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleSettings:
    """Section `console`: the status page, read-only."""

    # Loopback is the access control: a port-forward needs a role in the cluster.
    address: str = setting(
        "127.0.0.1:8090", doc="host:port; loopback, because the page asks nobody for a password; empty: no console"
    )
    allowed_hosts: tuple[str, ...] = setting(
        ("localhost", "127.0.0.1", "[::1]"),
        doc="names in the Host header that the console answers; it refuses others, against DNS rebinding",
    )
    interval_s: float = setting(
        1.0, minimum=0.1, maximum=60, doc="seconds between two samples, which are the points of the curves"
    )
    history_s: float = setting(300.0, minimum=10, maximum=3600, doc="seconds of history that the curves show")
    # Each costs a document a second; and a page that is open in a forgotten tab stays one for ever.
    max_watchers: int = setting(8, minimum=1, maximum=100, doc="pages and event tails open at once; one more gets 503")
    panels: tuple[PanelSettings, ...] = setting(BROKER_PANELS, doc="figures of the producer's instruments")

    def __post_init__(self) -> None:
        if self.address:
            parse_address(self.address)
