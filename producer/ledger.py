"""The producer's half of the ledger: every emitted event is acknowledged, held or dropped for a reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from telemetry_contract.v1 import telemetry_pb2 as pb


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What became of the calls of `emit` of one session, at one moment.

    `dropped` counts by event name and reason; `rejected` counts by reason what the sidecar refused, which is
    part of `acknowledged`; `mended` counts by event name and reason values that did not fit their column and
    were left out.
    """

    emitted: int
    acknowledged: int
    held: int
    spool_bytes: int = 0
    dropped: Mapping[tuple[str, str], int] = field(default_factory=dict)
    rejected: Mapping[str, int] = field(default_factory=dict)
    mended: Mapping[tuple[str, str], int] = field(default_factory=dict)

    @property
    def balances(self) -> bool:
        """Whether emitted = acknowledged + held + dropped."""
        return self.emitted == self.acknowledged + self.held + sum(self.dropped.values())

    def message(self) -> pb.ProducerLedger:
        """As the contract says it."""
        counts = [
            pb.DropCount(event=event, reason=reason, count=count)
            for (event, reason), count in sorted(self.dropped.items())
        ]
        return pb.ProducerLedger(
            emitted=self.emitted,
            acknowledged=self.acknowledged,
            held=self.held,
            dropped=counts,
            spool_bytes=self.spool_bytes,
        )
