"""Registry of producers: connection, health, ledger and secrets of each, as it last reported them.

Texts and lists of a producer are cut to bounds: it is another process, and this registry lives in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from telemetry_contract.v1 import telemetry_pb2 as pb

MAX_CONDITIONS = 64
MAX_NAME = 64
MAX_MESSAGE = 1024
MAX_DROPS = 1024
MAX_GONE = 256
"""Producers that are remembered though they are not connected; those that went first are forgotten first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerCondition:
    """A named condition of a producer (see `Condition` in the contract)."""

    name: str
    ok: bool
    reason: str
    message: str
    since_ns: int
    advisory: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerLedger:
    """The producer's half of the ledger, for its session: emitted = acknowledged + held + dropped."""

    emitted: int = 0
    acknowledged: int = 0
    held: int = 0
    dropped: tuple[tuple[str, str, int], ...] = ()
    """Event, reason, count."""
    spool_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretsRefusal:
    """Report of a producer that it could not use a generation of secrets."""

    generation: int
    secret: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerStatus:
    """A producer at one moment. Times are nanoseconds since the epoch by the sidecar's clock, 0 for never."""

    producer_id: str
    session_id: str = ""
    session_start_ns: int = 0
    resource: tuple[tuple[str, str], ...] = ()
    connected: bool = False
    changed_ns: int = 0
    """Time of its last connection or disconnection."""
    last_heartbeat_ns: int = 0
    last_event_ns: int = 0
    recovery_streams: int = 0
    has_spoken: bool = False
    """True after a heartbeat of this session: before it, the absence of failed conditions means nothing."""
    conditions: tuple[ProducerCondition, ...] = ()
    ledger: ProducerLedger | None = None
    applied_generation: int = 0
    refusal: SecretsRefusal | None = None
    goodbye: str = ""
    """Reason of its Goodbye; empty while it may come back."""
    durable_through: int = 0

    @property
    def ready(self) -> bool:
        """True if it is connected, has sent a heartbeat, and each of its conditions holds that is not advisory."""
        return self.connected and self.has_spoken and all(item.ok or item.advisory for item in self.conditions)


class SecretsListener(Protocol):
    """Hears at once of what secrets' readers report (`secrets.acknowledge`). Must not wait or raise."""

    def connected(self, producer_id: str) -> None:
        """Note a producer that may read secrets from now on."""

    def applied(self, producer_id: str, generation: int) -> bool:
        """Note that a producer has proved a generation by using it; False if its word counts for nothing."""

    def rejected(self, producer_id: str, generation: int, secret: str, reason: str, message: str) -> bool:
        """Note that a producer could not use a generation; False if its word counts for nothing."""

    def goodbye(self, producer_id: str) -> None:
        """Note that a producer has ended in order."""


class Producers:
    """Latest status of every producer. One event loop only."""

    def __init__(self, secrets: SecretsListener | None = None) -> None:
        self._all: dict[str, ProducerStatus] = {}
        self._secrets = secrets

    def all(self) -> Sequence[ProducerStatus]:
        """Every producer seen so far, by id."""
        return [status for _, status in sorted(self._all.items())]

    def get(self, producer_id: str) -> ProducerStatus | None:
        """Status of one producer, if it was ever connected."""
        return self._all.get(producer_id)

    def connected(self, hello: pb.Hello, now_ns: int) -> None:
        """Note that a stream was opened."""
        known = self._all.get(hello.producer_id)
        if known is None:
            self.forget(0)
        status = known or ProducerStatus(producer_id=hello.producer_id, changed_ns=now_ns)
        if hello.recovery:
            self._all[hello.producer_id] = replace(status, recovery_streams=status.recovery_streams + 1)
            return
        # A new process: nothing that the one before said is true of it. Streams of recovery outlive the change.
        if status.session_id != hello.session_id:
            status = ProducerStatus(
                producer_id=hello.producer_id,
                session_id=hello.session_id,
                session_start_ns=hello.session_start_time_unix_nano,
                recovery_streams=status.recovery_streams,
            )
        self._all[hello.producer_id] = replace(
            status,
            resource=tuple(sorted(hello.resource.items())),
            connected=True,
            changed_ns=now_ns,
            last_heartbeat_ns=now_ns,
            goodbye="",
        )
        if self._secrets is not None:
            self._secrets.connected(hello.producer_id)

    def disconnected(self, hello: pb.Hello, now_ns: int) -> None:
        """Note that the producer's stream ended, and no newer one took its place."""
        status = self._all[hello.producer_id]
        if hello.recovery:
            # Of a producer that never connected itself, this is the last that is known.
            changed_ns = status.changed_ns if status.session_id else now_ns
            streams = status.recovery_streams - 1
            self._all[hello.producer_id] = replace(status, recovery_streams=streams, changed_ns=changed_ns)
        elif status.session_id == hello.session_id:
            self._all[hello.producer_id] = replace(status, connected=False, changed_ns=now_ns)

    def heartbeat(self, hello: pb.Hello, beat: pb.Heartbeat, now_ns: int) -> None:
        """Take over conditions and ledger of a heartbeat."""
        if status := self._live(hello):
            self._all[hello.producer_id] = replace(
                status,
                last_heartbeat_ns=now_ns,
                has_spoken=True,
                conditions=tuple(map(_condition, beat.conditions[:MAX_CONDITIONS])),
                ledger=_ledger(beat.ledger) if beat.HasField("ledger") else status.ledger,
            )

    def events(self, hello: pb.Hello, durable_through: int, now_ns: int) -> None:
        """Note that events of the producer were accepted."""
        if status := self._live(hello):
            self._all[hello.producer_id] = replace(status, durable_through=durable_through, last_event_ns=now_ns)

    def applied(self, hello: pb.Hello, message: pb.SecretsApplied) -> None:
        """Note that the producer has used a generation of secrets successfully."""
        status = self._live(hello)
        if status and (self._secrets is None or self._secrets.applied(hello.producer_id, message.generation)):
            # A proof of an older generation says nothing about the refusal of a newer one.
            refusal = status.refusal if status.refusal and status.refusal.generation > message.generation else None
            self._all[hello.producer_id] = replace(status, applied_generation=message.generation, refusal=refusal)

    def rejected(self, hello: pb.Hello, message: pb.SecretsRejected) -> None:
        """Note that the producer cannot use a generation of secrets."""
        if status := self._live(hello):
            refusal = SecretsRefusal(
                generation=message.generation,
                secret=message.secret[:MAX_NAME],
                reason=message.reason[:MAX_NAME],
                message=message.message[:MAX_MESSAGE],
            )
            told = (hello.producer_id, refusal.generation, refusal.secret, refusal.reason, refusal.message)
            if self._secrets is None or self._secrets.rejected(*told):
                self._all[hello.producer_id] = replace(status, refusal=refusal)

    def goodbye(self, hello: pb.Hello, reason: str) -> None:
        """Note that the producer ends in order."""
        if status := self._live(hello):
            self._all[hello.producer_id] = replace(status, goodbye=reason[:MAX_NAME] or "unspecified", conditions=())
            if self._secrets is not None:
                self._secrets.goodbye(hello.producer_id)

    def forget(self, before_ns: int) -> None:
        """Forget producers that are gone since `before_ns`, and all but the `MAX_GONE` that went last."""
        gone = [item for item in self._all.values() if not item.connected and not item.recovery_streams]
        gone.sort(key=lambda item: item.changed_ns, reverse=True)
        for place, item in enumerate(gone):
            if place >= MAX_GONE or item.changed_ns < before_ns:
                del self._all[item.producer_id]

    def _live(self, hello: pb.Hello) -> ProducerStatus | None:
        # A recovery stream speaks for a dead session, an older stream for one that was replaced: neither says how the
        # producer is now.
        status = self._all.get(hello.producer_id)
        live = status is not None and not hello.recovery and status.session_id == hello.session_id
        return status if live else None


def _condition(message: pb.Condition) -> ProducerCondition:
    return ProducerCondition(
        name=message.name[:MAX_NAME],
        ok=message.ok,
        reason=message.reason[:MAX_NAME],
        message=message.message[:MAX_MESSAGE],
        since_ns=message.since_unix_nano,
        advisory=message.advisory,
    )


def _ledger(message: pb.ProducerLedger) -> ProducerLedger:
    return ProducerLedger(
        emitted=message.emitted,
        acknowledged=message.acknowledged,
        held=message.held,
        dropped=tuple((item.event[:128], item.reason[:MAX_NAME], item.count) for item in message.dropped[:MAX_DROPS]),
        spool_bytes=message.spool_bytes,
    )
