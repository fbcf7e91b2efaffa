"""The conditions at work: evaluated on a beat, cached, asked by probes, console and gRPC health."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace

from sidecar.health.conditions import PROBES, Condition, Facts, Verdict, evaluate, stale_verdict, track, verdict
from sidecar.health.settings import HealthSettings

log = logging.getLogger(__name__)
Collect = Callable[[], Facts]
OnVerdicts = Callable[[dict[str, bool]], None]


class Health:
    """Evaluates `collect()` each interval. `on_verdicts` hears of each probe's answer when one changes.

    `monotonic` gives seconds; verdicts older than `stale_s` of it are failures.
    """

    def __init__(
        self,
        settings: HealthSettings,
        collect: Collect,
        *,
        on_verdicts: OnVerdicts | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._collect = collect
        self._on_verdicts = on_verdicts
        self._monotonic = monotonic
        self._evaluated_at = float("-inf")
        self._known: dict[str, bool] = {}
        self.conditions: tuple[Condition, ...] = ()

    async def run(self, stop: asyncio.Event) -> None:
        """Evaluates until `stop`. A fault in a fact is logged and leaves the verdict to go stale: it ends nothing."""
        due = self._monotonic()
        while not stop.is_set():
            self._evaluate_safely(max(0.0, self._monotonic() - due))
            due = self._monotonic() + self._settings.interval_s
            try:
                await asyncio.wait_for(stop.wait(), self._settings.interval_s)
            except TimeoutError:
                continue

    def refresh(self, loop_lag_s: float = 0.0) -> None:
        """Evaluates once, now."""
        facts = replace(self._collect(), loop_lag_s=loop_lag_s)
        self.conditions = track(self.conditions, evaluate(facts, self._settings), facts.now_ns)
        self._evaluated_at = self._monotonic()
        self._announce({probe: verdict(probe, self.conditions).ok for probe in PROBES})

    def verdict(self, probe: str) -> Verdict:
        """The cached answer of a probe of `PROBES`; a failure when it is too old."""
        age_s = self._monotonic() - self._evaluated_at
        if self.conditions and age_s > self._settings.stale_s:
            return stale_verdict(probe, age_s)
        return verdict(probe, self.conditions)

    def _evaluate_safely(self, loop_lag_s: float) -> None:
        try:
            self.refresh(loop_lag_s)
        except Exception:
            log.exception("health.evaluation_failed")
            if self._monotonic() - self._evaluated_at > self._settings.stale_s:
                self._announce(dict.fromkeys(PROBES, False))

    def _announce(self, verdicts: dict[str, bool]) -> None:
        if verdicts != self._known:
            self._known = verdicts
            log.info("health.changed", extra={"verdicts": verdicts, "failing": self._failing()})
            if self._on_verdicts is not None:
                self._on_verdicts(verdicts)

    def _failing(self) -> dict[str, str]:
        return {item.name: item.reason for item in self.conditions if not item.ok}
