"""Health monitor: evaluates the conditions at an interval and caches them for probes, console and gRPC health.

Probes read the cache instead of evaluating, so that they answer at once and all agree with each other. A cache can
outlive its truth: if the evaluation fails or the event loop stalls, the cached verdict becomes older than
`health.stale_s`, and every probe fails from then on. Ages are measured by the monotonic clock, because a step of the
wall clock (NTP, a suspended machine) must neither hide nor invent a silent producer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from sidecar.health.conditions import (
    PROBES,
    HealthCondition,
    HealthFacts,
    HealthSettings,
    ProbeVerdict,
    evaluate,
    stale_verdict,
    track,
    verdict,
)

log = logging.getLogger(__name__)


class FactSource(Protocol):
    """Process whose health is evaluated."""

    def facts(self) -> HealthFacts:
        """Collect the facts of this moment; the monitor itself fills in `loop_lag_s`."""


class VerdictListener(Protocol):
    """Receiver of the probes' answers, such as `GrpcHealth`."""

    def tell(self, verdicts: dict[str, bool]) -> None:
        """Take the answer of every probe; called when one of them has changed."""


class HealthMonitor:
    """Evaluates the facts of `source`, and keeps the conditions; `monotonic` gives seconds."""

    def __init__(
        self,
        settings: HealthSettings,
        source: FactSource,
        *,
        listener: VerdictListener | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._source = source
        self._listener = listener
        self._monotonic = monotonic
        self._evaluated_at = float("-inf")
        self._known: dict[str, bool] = {}
        self.conditions: tuple[HealthCondition, ...] = ()

    async def run(self, stop: asyncio.Event) -> None:
        """Evaluate at each interval until `stop`. A failed evaluation is logged, and the verdicts go stale."""
        due = self._monotonic()
        while not stop.is_set():
            # The delay of our own wake-up is the stall of the event loop: no second timer is needed to measure it.
            self._evaluate_safely(max(0.0, self._monotonic() - due))
            due = self._monotonic() + self._settings.interval_s
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._settings.interval_s)

    def refresh(self, loop_lag_s: float = 0.0) -> None:
        """Evaluate once, now; for changes that a probe should show before the next interval."""
        facts = replace(self._source.facts(), loop_lag_s=loop_lag_s)
        self.conditions = track(self.conditions, evaluate(facts, self._settings), facts.now_ns)
        self._evaluated_at = self._monotonic()
        self._announce({probe: verdict(probe, self.conditions).ok for probe in PROBES})

    def verdict(self, probe: str) -> ProbeVerdict:
        """Return the cached answer of a probe of `PROBES`, or a failure if it is stale."""
        age_s = self._monotonic() - self._evaluated_at
        if self.conditions and age_s > self._settings.stale_s:
            return stale_verdict(probe, age_s)
        return verdict(probe, self.conditions)

    def _evaluate_safely(self, loop_lag_s: float) -> None:
        # Any part may raise while its state is collected. Ending the monitor would end the sidecar for it; stale
        # verdicts tell the kubelet the same, and telemetry and secrets go on until it acts.
        try:
            self.refresh(loop_lag_s)
        except Exception:
            log.exception("health.evaluation_failed")
            if self._monotonic() - self._evaluated_at > self._settings.stale_s:
                self._announce(dict.fromkeys(PROBES, False))

    def _announce(self, verdicts: dict[str, bool]) -> None:
        # Only a change is logged and told: a line for each evaluation would be four a second.
        if verdicts != self._known:
            self._known = verdicts
            failing = {item.name: item.reason for item in self.conditions if not item.ok}
            log.info("health.changed", extra={"verdicts": verdicts, "failing": failing})
            if self._listener is not None:
                self._listener.tell(verdicts)


class ChangeAges:
    """Age of each producer's last change, by the monotonic clock although the change itself is a wall time."""

    def __init__(self) -> None:
        # The wall time only tells one change from another. An age counts from the first call that sees the change,
        # so it is as exact as calls are frequent: four a second, by `health.interval_s`.
        self._seen: dict[str, tuple[int, float]] = {}

    def age_s(self, producer_id: str, changed_ns: int, now_s: float) -> float | None:
        """Return the seconds since the change at the wall time `changed_ns` was first seen; None for 0, never."""
        if not changed_ns:
            return None
        known = self._seen.get(producer_id)
        if known is None or known[0] != changed_ns:
            self._seen[producer_id] = known = (changed_ns, now_s)
        return now_s - known[1]
