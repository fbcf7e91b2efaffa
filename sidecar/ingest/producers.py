"""Who sends: each producer's connection, health, ledger and secrets, as it last said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from telemetry_contract.v1 import telemetry_pb2 as pb

MAX_CONDITIONS = 64
MAX_NAME = 64
MAX_MESSAGE = 1024
MAX_DROPS = 1024


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
    """The producer's half of the ledger, of its session: emitted = acknowledged + held + dropped."""

    emitted: int = 0
    acknowledged: int = 0
    held: int = 0
    dropped: tuple[tuple[str, str, int], ...] = ()
    """Event, reason, how many."""
    spool_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretsRefusal:
    """A generation of secrets that the producer could not use."""

    generation: int
    secret: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerStatus:
    """A producer at one moment. Times are nanoseconds since the epoch by our clock, 0 for never."""

    producer_id: str
    session_id: str = ""
    session_start_ns: int = 0
    resource: tuple[tuple[str, str], ...] = ()
    connected: bool = False
    changed_ns: int = 0
    """When it connected or went."""
    last_heartbeat_ns: int = 0
    last_event_ns: int = 0
    recovery_streams: int = 0
    has_spoken: bool = False
    """Whether a heartbeat of this session came: before it, that no condition fails says nothing."""
    conditions: tuple[ProducerCondition, ...] = ()
    ledger: ProducerLedger | None = None
    applied_generation: int = 0
    refusal: SecretsRefusal | None = None
    goodbye: str = ""
    """Reason of its Goodbye; empty while it may come back."""
    durable_through: int = 0

    @property
    def ready(self) -> bool:
        """Whether it is connected, has said how it is, and each of its conditions that is no mere advice holds."""
        return self.connected and self.has_spoken and all(item.ok or item.advisory for item in self.conditions)


@dataclass(slots=True)
class Callbacks:
    """Who wants to know at once. Each is called on the event loop and must not wait or raise."""

    secrets_applied: list[Callable[[str, int], None]] = field(default_factory=list)
    """producer id, generation"""
    secrets_rejected: list[Callable[[str, SecretsRefusal], None]] = field(default_factory=list)
    goodbye: list[Callable[[str, str], None]] = field(default_factory=list)
    """producer id, reason"""


class Producers:
    """The registry of producers. One event loop only."""

    def __init__(self) -> None:
        self._all: dict[str, ProducerStatus] = {}
        self._callbacks = Callbacks()

    def all(self) -> Sequence[ProducerStatus]:
        """Every producer that has been seen, by id."""
        return [status for _, status in sorted(self._all.items())]

    def get(self, producer_id: str) -> ProducerStatus | None:
        """One producer."""
        return self._all.get(producer_id)

    def on_secrets_applied(self, call: Callable[[str, int], None]) -> None:
        """Calls `call(producer_id, generation)` when a producer has proved a generation of secrets."""
        self._callbacks.secrets_applied.append(call)

    def on_secrets_rejected(self, call: Callable[[str, SecretsRefusal], None]) -> None:
        """Calls `call(producer_id, refusal)` when a producer cannot use a generation of secrets."""
        self._callbacks.secrets_rejected.append(call)

    def on_goodbye(self, call: Callable[[str, str], None]) -> None:
        """Calls `call(producer_id, reason)` when a producer ends in order."""
        self._callbacks.goodbye.append(call)

    def connected(self, hello: pb.Hello, now_ns: int) -> None:
        """A stream was opened."""
        status = self._all.get(hello.producer_id) or ProducerStatus(producer_id=hello.producer_id)
        if hello.recovery:
            self._all[hello.producer_id] = replace(status, recovery_streams=status.recovery_streams + 1)
            return
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

    def disconnected(self, hello: pb.Hello, now_ns: int) -> None:
        """The producer's stream has ended, and no newer one took its place."""
        status = self._all[hello.producer_id]
        if hello.recovery:
            self._all[hello.producer_id] = replace(status, recovery_streams=status.recovery_streams - 1)
        elif status.session_id == hello.session_id:
            self._all[hello.producer_id] = replace(status, connected=False, changed_ns=now_ns)

    def heartbeat(self, hello: pb.Hello, beat: pb.Heartbeat, now_ns: int) -> None:
        """The producer says how it is."""
        status = self._live(hello)
        if status is not None:
            self._all[hello.producer_id] = replace(
                status,
                last_heartbeat_ns=now_ns,
                has_spoken=True,
                conditions=tuple(map(_condition, beat.conditions[:MAX_CONDITIONS])),
                ledger=_ledger(beat.ledger) if beat.HasField("ledger") else status.ledger,
            )

    def events(self, hello: pb.Hello, durable_through: int, now_ns: int) -> None:
        """Events of the producer were taken."""
        status = self._live(hello)
        if status is not None:
            self._all[hello.producer_id] = replace(status, durable_through=durable_through, last_event_ns=now_ns)

    def applied(self, hello: pb.Hello, message: pb.SecretsApplied) -> None:
        """The producer has proved a generation of secrets."""
        status = self._live(hello)
        if status is not None:
            refusal = status.refusal if status.refusal and status.refusal.generation > message.generation else None
            self._all[hello.producer_id] = replace(status, applied_generation=message.generation, refusal=refusal)
            for call in self._callbacks.secrets_applied:
                call(hello.producer_id, message.generation)

    def rejected(self, hello: pb.Hello, message: pb.SecretsRejected) -> None:
        """The producer cannot use a generation of secrets."""
        status = self._live(hello)
        if status is not None:
            refusal = SecretsRefusal(
                generation=message.generation,
                secret=message.secret[:MAX_NAME],
                reason=message.reason[:MAX_NAME],
                message=message.message[:MAX_MESSAGE],
            )
            self._all[hello.producer_id] = replace(status, refusal=refusal)
            for call in self._callbacks.secrets_rejected:
                call(hello.producer_id, refusal)

    def goodbye(self, hello: pb.Hello, reason: str) -> None:
        """The producer ends in order."""
        status = self._live(hello)
        if status is not None:
            self._all[hello.producer_id] = replace(status, goodbye=reason[:MAX_NAME] or "unspecified", conditions=())
            for call in self._callbacks.goodbye:
                call(hello.producer_id, reason[:MAX_NAME])

    def _live(self, hello: pb.Hello) -> ProducerStatus | None:
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
