"""Messages of a live stream beside its batches: heartbeats, acknowledgements of secrets, Goodbye."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

from producer.emitter import Emitter
from producer.health import MAX_MESSAGE, MAX_NAME, Condition
from telemetry_contract.v1 import telemetry_pb2 as pb

# Gives the conditions of the process; asked at each heartbeat.
Conditions = Callable[[], Sequence[Condition]]
# One may come late, by a busy event loop, without the sidecar taking the producer for dead.
HEARTBEATS_PER_INTERVAL = 2
MIN_INTERVAL_S = 0.02


class ControlMessages:
    """Yields the control messages that are due on the open stream.

    The last acknowledgement of secrets is repeated on each new stream: the sidecar that hears it may be another one.
    """

    def __init__(self, emitter: Emitter, conditions: Conditions) -> None:
        self._emitter, self._conditions = emitter, conditions
        self._secrets: dict[str, pb.PublishRequest] = {}
        self._unsent: dict[str, pb.PublishRequest] = {}
        self._interval_s = MIN_INTERVAL_S
        self._heartbeat_at_s = 0.0
        self._spool_reason = "Ready"
        self._spool_since = datetime.now(UTC)

    def secrets_applied(self, generation: int) -> None:
        """Tells the sidecar that a generation works."""
        message = pb.SecretsApplied(generation=generation, time_unix_nano=time.time_ns())
        self._tell("applied", pb.PublishRequest(secrets_applied=message))
        # A generation that works ends the refusal of an older one; the sidecar must not hear of it again.
        self._secrets.pop("rejected", None)

    def secrets_rejected(self, generation: int, secret: str, reason: str, message: str) -> None:
        """Tells the sidecar that a generation cannot be used; `message` without secrets."""
        reason, message = reason[:MAX_NAME], message[:MAX_MESSAGE]
        refusal = pb.SecretsRejected(generation=generation, secret=secret, reason=reason, message=message)
        self._tell("rejected", pb.PublishRequest(secrets_rejected=refusal))

    def _tell(self, kind: str, message: pb.PublishRequest) -> None:
        self._secrets[kind] = self._unsent[kind] = message

    def begin(self, welcome: pb.Welcome) -> None:
        """Starts anew for a stream that `welcome` opened."""
        self._unsent = dict(self._secrets)
        self._interval_s = max(MIN_INTERVAL_S, welcome.heartbeat_interval_ms / 1000 / HEARTBEATS_PER_INTERVAL)
        self._heartbeat_at_s = 0.0

    def due(self) -> Iterator[pb.PublishRequest]:
        """Messages that are due now."""
        now_s = time.monotonic()
        if now_s >= self._heartbeat_at_s:
            self._heartbeat_at_s = now_s + self._interval_s
            yield pb.PublishRequest(heartbeat=self._heartbeat())
        while self._unsent:  # taken out one by one: a message that comes while one is sent is not lost
            yield self._unsent.pop(next(iter(self._unsent)))

    def closing(self) -> Iterator[pb.PublishRequest]:
        """The last messages of the stream: a heartbeat with the final ledger, and Goodbye."""
        self._heartbeat_at_s = 0.0
        yield from self.due()
        yield pb.PublishRequest(goodbye=pb.Goodbye(reason="sigterm"))

    def _heartbeat(self) -> pb.Heartbeat:
        conditions = [item.to_message() for item in (*self._conditions(), self._spool_condition())]
        ledger = self._emitter.ledger().to_message()
        return pb.Heartbeat(time_unix_nano=time.time_ns(), conditions=conditions, ledger=ledger)

    def _spool_condition(self) -> Condition:
        """Durability of events; never a reason not to work, therefore advisory."""
        spool = self._emitter.spool
        reason, message = "Ready", "events are kept in the spool until they are acknowledged"
        if (fault := spool.writer.fault) is not None:
            reason, message = "VolumeFailing", f"events are kept in memory only: {fault.strerror}"
        elif spool.full:
            reason, message = "SpoolFull", "only reserved events are taken; the rest is dropped and counted"
        if reason != self._spool_reason:
            self._spool_reason, self._spool_since = reason, datetime.now(UTC)
        since = self._spool_since
        return Condition(
            name="TelemetrySpool", ok=reason == "Ready", reason=reason, message=message, since=since, advisory=True
        )
