"""Settings of the probes."""

from __future__ import annotations

from dataclasses import dataclass

from pod_runtime.config import setting
from pod_runtime.ports import parse_address


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthSettings:
    """Section `health`: address of the probes, and the limits that their conditions use."""

    # Every interface, unlike the console: the answer holds no secret and changes nothing.
    address: str = setting(
        "0.0.0.0:8000", doc="host:port of the probes; the kubelet asks the pod's address, not loopback"
    )
    # One: other producers may connect, and no probe waits for them.
    producer: str = setting("broker", doc="id of the producer that /livez/broker and /readyz report on")
    # The kubelet asks once a second at most, so an answer is hardly older than its question.
    interval_s: float = setting(
        0.25, minimum=0.01, maximum=10, doc="seconds between two evaluations of the conditions"
    )
    # A stalled loop gives no answer at all, or a late one; this limit is for an evaluation that keeps failing.
    stale_s: float = setting(5.0, minimum=0.1, doc="age in seconds at which a cached verdict counts as a failure")
    # Ten heartbeats: one late beat under load must not restart the broker.
    heartbeat_budget_s: float = setting(
        10.0,
        minimum=0.1,
        doc="seconds without a heartbeat after which a producer counts as dead (it sends one a second)",
    )
    reconnect_grace_s: float = setting(
        1.0,
        minimum=0,
        doc="seconds that a producer stays ready after its stream ended: time for its first attempts to reconnect",
    )
    # Long enough to take the pod out of its Service and to answer the requests that it has.
    secrets_margin_s: float = setting(
        30.0, minimum=0, doc="seconds before a secret's expiry from which the pod is no longer ready"
    )

    def __post_init__(self) -> None:
        parse_address(self.address)
        # A verdict must outlive its interval by one more: else a single late evaluation fails every probe.
        if self.stale_s < 2 * self.interval_s:
            raise ValueError("stale_s must be at least twice interval_s, or a verdict is stale before the next one")
