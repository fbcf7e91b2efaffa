"""One publish session: a gRPC stream that delivers the events of one session of a producer, in order.

    producer                                     sidecar
    Hello(session, first sequence held)    ->
                                           <-    Welcome(durable_through, window, limits)
    Define, one for each event type        ->
    Batch, Batch, Batch ...                ->    journals them
    Heartbeat, news of secrets             ->
                                           <-    Ack(durable_through, window, rejected)
    Define, Batch ...                      ->
    Heartbeat, Goodbye, half-close         ->    reads to the end, closes

Exactly once. Events are numbered and sent in order. The sidecar answers each Hello with the last sequence that is in
its journal, and the session goes on behind it: a batch that arrived while its Ack was lost is released unsent, one
that did not arrive is sent again. The queue releases files only on `durable_through`, never on a successful write.

Window. At most `window_bytes` may be unacknowledged (`SendWindow`); an Ack may change the size. One batch may always
go, however large, or a window smaller than a batch would stop the stream forever. A batch that the window does not
take yet is kept encoded, so that it is not encoded again at each turn.

Gaps. A stream cannot leave sequences out. If damaged events are lost, the session delivers what is before the gap,
waits for its Acks, and ends; the next Hello names the first event behind the gap.

Tasks. One task writes (control messages, definitions, batches, in turns) and one reads Acks; both end the session by
an exception. The writer rests between batches, longer under load and when idle (`pace`). The reader has no deadline
of its own: the writer looks at the time of the last Ack, because a sidecar that has nothing to say is healthy.

End. The writer stops when `done()` holds, says Goodbye, half-closes, and waits for the reader to see the sidecar
close its side: cancelling the call at once would throw away messages that are still in gRPC's buffers. Any other end
raises, and the caller opens another session after a pause.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import grpc.aio

from pod_runtime.cancellation import PersistentTaskGroup, check_cancelled
from pod_runtime.files.framing import delimited
from pod_runtime.run import leaves
from producer.settings import ProducerSettings
from producer.spool.unacked_queue import EventRun, UnackedQueue
from producer.stream.columns import Coerced, encode_batch, event_schemas
from producer.stream.control import ControlMessages
from telemetry_contract.v1 import telemetry_pb2 as pb

log = logging.getLogger(__name__)
PROTOCOL_VERSION = 1
PUBLISH = "/telemetry.v1.TelemetryService/Publish"
BATCH = pb.PublishRequest.BATCH_FIELD_NUMBER
IDLE_TURNS = 100
IDLE_FACTOR = 4
BUSY_EVENTS = 50
BUSY_FACTOR = 8
# Most bytes of the tag and length around a batch.
ENVELOPE_BYTES = 16

PublishCall = grpc.aio.StreamStreamCall[bytes, pb.PublishResponse]


class StreamEndedError(Exception):
    """The stream is over and another one should be opened; the reason is a constant name."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(slots=True)
class SendWindow:
    """Batches that were sent and are not acknowledged: (last sequence, bytes) of each."""

    window_bytes: int
    sent_through: int
    batches: deque[tuple[int, int]] = field(default_factory=deque)
    bytes: int = 0
    heard_at_s: float = 0.0

    def takes(self, size: int) -> bool:
        """True if a batch of `size` bytes may go; one always may if none is under way."""
        return not self.batches or self.bytes + size <= self.window_bytes

    def send(self, last: int, size: int) -> None:
        """Notes a batch that went."""
        self.batches.append((last, size))
        self.bytes += size
        self.sent_through = last

    def acknowledge(self, through: int) -> None:
        """Notes that everything up to `through` arrived."""
        while self.batches and self.batches[0][0] <= through:
            self.bytes -= self.batches.popleft()[1]


class PublishSession:
    """Delivers a queue on one stream after the other, with the control messages of `control`.

    Without `control` it is a recovery: the producer of the queue's session is dead and says nothing but its events.
    `coerced` counts values that did not fit; `rejected` counts by reason the events that the sidecar refused.
    """

    def __init__(
        self,
        queue: UnackedQueue,
        settings: ProducerSettings,
        *,
        control: ControlMessages | None = None,
        coerced: Coerced,
        rejected: Counter[str],
    ) -> None:
        self.opened = self._closing = False
        self._queue, self._settings, self._control = queue, settings, control
        self._coerced, self._rejected = coerced, rejected
        self._schemas = event_schemas(queue.meta.defines)
        self._defined = 0
        """Event types that were defined on the open stream."""
        self._limits = pb.Limits()
        self._window = SendWindow(0, 0)
        self._pending: tuple[int, bytes] | None = None
        """The next batch, encoded, until the window takes it: (last sequence, message)."""

    async def run(self, channel: grpc.aio.Channel, done: Callable[[], bool]) -> None:
        """Opens a stream and delivers until `done()` holds; then ends it in order.

        Raises StreamEndedError if the stream broke or fell silent, and grpc.aio.AioRpcError if the sidecar refused or
        ended it, or is not there.
        """
        call: PublishCall = channel.stream_stream(PUBLISH, response_deserializer=pb.PublishResponse.FromString)()
        try:
            await self._open(call)
            self.opened = True
            await self._deliver(call, done)
        except TimeoutError as error:
            raise StreamEndedError("silent") from error
        except asyncio.InvalidStateError as error:  # what grpc.aio raises for a write to a call that has ended
            raise StreamEndedError("broken") from error
        finally:
            self.opened = False
            call.cancel()

    async def _deliver(self, call: PublishCall, done: Callable[[], bool]) -> None:
        try:
            async with PersistentTaskGroup(give_up=log.error) as tasks:
                reading = tasks.create_task(self._read_acks(call))
                await self._write(call, done)
                await self._put(call, self._control.closing() if self._control is not None else ())
                self._closing = True
                async with asyncio.timeout(self._settings.connect_deadline_s):
                    await call.done_writing()
                await asyncio.wait([reading], timeout=self._settings.connect_deadline_s)
                call.cancel()
        except ExceptionGroup as group:
            check_cancelled()  # told to end in the same turn, the group tells of its task's error alone
            # Not `except*`: before Python 3.11.4 an error raised there comes out in a group (cpython, gh-103590).
            raise next(leaves(group)) from group

    async def _open(self, call: PublishCall) -> None:
        meta = self._queue.meta
        hello = pb.Hello(
            protocol_version=PROTOCOL_VERSION,
            producer_id=meta.producer_id,
            session_id=meta.session_id,
            first_sequence=self._queue.first,
            resource=dict(meta.resource),
            session_start_time_unix_nano=meta.started_ns,
            recovery=self._control is None,
        )
        async with asyncio.timeout(self._settings.connect_deadline_s):
            await call.write(pb.PublishRequest(hello=hello).SerializeToString())
            answer = await call.read()
        if not isinstance(answer, pb.PublishResponse) or not answer.HasField("welcome"):
            raise StreamEndedError("no_welcome")
        welcome = answer.welcome
        self._limits = welcome.limits
        self._queue.acknowledge(welcome.durable_through)
        self._window = SendWindow(welcome.window_bytes, self._queue.first - 1, heard_at_s=time.monotonic())
        # A batch that was encoded for the last stream may begin before `durable_through` of this one.
        self._pending, self._closing, self._defined = None, False, 0
        await self._define_types(call)
        if self._control is not None:
            self._control.begin(welcome)

    async def _define_types(self, call: PublishCall) -> None:
        defines = self._queue.meta.defines
        await self._put(call, (pb.PublishRequest(define=define) for define in defines[self._defined :]))
        self._defined = len(defines)

    async def _put(self, call: PublishCall, messages: Iterable[pb.PublishRequest]) -> None:
        for message in messages:
            await self._put_bytes(call, message.SerializeToString())

    async def _put_bytes(self, call: PublishCall, data: bytes) -> None:
        async with asyncio.timeout(self._ack_left_s()):
            await call.write(data)

    def _ack_left_s(self) -> float:
        """Seconds until an Ack is overdue."""
        # Not the whole time anew: a dead connection takes what the flow control allows, and then a write waits.
        deadline_s = self._settings.ack_deadline_s
        waited_s = time.monotonic() - self._window.heard_at_s if self._window.batches else 0.0
        return max(deadline_s - waited_s, min(1.0, deadline_s))

    async def _read_acks(self, call: PublishCall) -> None:
        while isinstance(answer := await call.read(), pb.PublishResponse):
            if answer.HasField("ack"):
                self._take(answer.ack)
        if not self._closing:
            raise StreamEndedError("ended_by_sidecar")

    def _take(self, ack: pb.Ack) -> None:
        window = self._window
        window.heard_at_s = time.monotonic()
        window.acknowledge(ack.durable_through)
        window.window_bytes = ack.window_bytes or window.window_bytes
        for refusal in ack.rejected:
            # One line for each reason: a broken producer would otherwise log as much as it emits.
            if refusal.reason not in self._rejected:
                log.warning("events refused", extra={"reason": refusal.reason, "detail": refusal.message})
            self._rejected[refusal.reason] += refusal.count
        self._queue.acknowledge(ack.durable_through)

    async def _write(self, call: PublishCall, done: Callable[[], bool]) -> None:
        idle, window, rest_s = 0, self._window, self._settings.batch_age_ms / 1000
        while not done():
            if self._control is not None:
                await self._put(call, self._control.due())
            sent = await self._send(call)
            idle = 0 if sent else idle + 1
            if sent < self._settings.batch_events:
                if window.batches and time.monotonic() - window.heard_at_s > self._settings.ack_deadline_s:
                    raise StreamEndedError("unacknowledged")
                await asyncio.sleep(rest_s * pace(sent, idle))

    async def _send(self, call: PublishCall) -> int:
        """Sends the next batch, if there is one and the window takes it; the number of its events."""
        window = self._window
        pending = self._pending = self._pending or self._next_batch()
        if pending is None or not window.takes(len(pending[1])):
            return 0
        last, data = pending
        count = last - window.sent_through
        if not window.batches:
            window.heard_at_s = time.monotonic()  # the sidecar owes an Ack from now on, not from its last one
        if self._defined < len(self._queue.meta.defines):
            await self._define_types(call)
        self._pending = None
        window.send(last, len(data))
        await self._put_bytes(call, data)
        return count

    def _next_batch(self) -> tuple[int, bytes] | None:
        window = self._window
        limit = min(self._settings.batch_events, self._limits.max_batch_events or self._settings.batch_events)
        run = self._queue.after(window.sent_through, limit)
        if not run.rows:
            return None
        if run.first == window.sent_through + 1:
            return self._largest_batch(run)
        if not window.batches:
            raise StreamEndedError("gap")
        return None

    def _largest_batch(self, run: EventRun) -> tuple[int, bytes]:
        rows = run.rows
        defines = self._queue.meta.defines  # read after the rows: a type is declared before its first event
        if len(defines) > len(self._schemas):
            self._schemas = event_schemas(defines)
        most = min(self._limits.max_message_bytes or 1 << 22, self._window.window_bytes or 1 << 22) - ENVELOPE_BYTES
        # Halving is rare and costs an encoding; the size of a batch is not known from that of its rows.
        while True:
            data = delimited(BATCH, encode_batch(run.first, rows, self._schemas, self._coerced))
            if len(data) <= most or len(rows) == 1:
                return run.first + len(rows) - 1, data
            rows = rows[: len(rows) // 2]


def pace(sent: int, idle: int) -> float:
    """Rest after a turn, in multiples of the age of a batch: `sent` events went last, nothing for `idle` turns.

    A message costs as much as a hundred events: many events wait longer, so that few messages carry them.
    """
    if idle >= IDLE_TURNS:
        return IDLE_FACTOR
    return min(BUSY_FACTOR, max(1.0, sent / BUSY_EVENTS))
