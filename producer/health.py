"""Health of a producer, as its heartbeats report it: named conditions, and the ledger of its events."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from pod_runtime.condition import ConditionName
from telemetry_contract.v1 import telemetry_pb2 as pb

MAX_NAME = 64
# Characters of a name or reason, and of a message, that the sidecar accepts.
MAX_MESSAGE = 1000


class EmitterCondition(ConditionName):
    """Conditions that the producer library itself adds to its program's."""

    TELEMETRY_SPOOL = (
        "TelemetrySpool",
        "events are kept in the spool, and there is room for all of them (advice)",
        *("SpoolFull", "VolumeFailing"),
    )


def camel_case(name: str) -> str:
    """A condition's name or reason in the spelling of Kubernetes: `disk-full` and `disk_full` are `DiskFull`.

    Text behind a colon, an account's id, stays as it is.
    """
    words, colon, rest = name.partition(":")
    return "".join(word[:1].upper() + word[1:] for word in re.split("[-_]", words)) + colon + rest


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One named statement of health; an advisory one never makes the process not ready."""

    name: str
    """In CamelCase, as every reader shows it."""
    ok: bool
    reason: str
    """A constant name in CamelCase; `Ready` for a condition that holds."""
    message: str
    since: datetime
    advisory: bool = False

    def to_message(self) -> pb.Condition:
        """The condition in the contract, within the lengths that the sidecar accepts."""
        return pb.Condition(
            name=camel_case(self.name)[:MAX_NAME],
            ok=self.ok,
            reason=camel_case(self.reason)[:MAX_NAME],
            message=self.message[:MAX_MESSAGE],
            since_unix_nano=int(self.since.timestamp() * 1e9),
            advisory=self.advisory,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EmitterLedger:
    """Fate of every call of `emit` of one session, at one moment: emitted = acknowledged + held + dropped.

    `dropped` counts by event name and reason. `rejected` counts by reason the events that the sidecar refused; they
    are part of `acknowledged`. `coerced` counts by event name and reason the values that did not fit their column
    and became the nearest that does, or were left out.
    """

    emitted: int
    acknowledged: int
    held: int
    spool_bytes: int = 0
    dropped: Mapping[tuple[str, str], int] = field(default_factory=dict)
    rejected: Mapping[str, int] = field(default_factory=dict)
    coerced: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def to_message(self) -> pb.ProducerLedger:
        """The ledger in the contract."""
        message = pb.ProducerLedger(emitted=self.emitted, acknowledged=self.acknowledged, held=self.held)
        message.spool_bytes = self.spool_bytes
        for (event, reason), count in sorted(self.dropped.items()):
            message.dropped.add(event=event, reason=reason, count=count)
        return message
