"""One stream to the sidecar: Hello and Welcome, batches within the window, acknowledgements."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import grpc.aio

from pod_runtime.protobuf_wire import delimited
from pod_runtime.run import leaves
from producer.settings import TelemetrySettings
from producer.spool.unacked_queue import Backlog, Run
from producer.stream.columns import encode, kinds
from telemetry_contract.v1 import telemetry_pb2 as pb

log = logging.getLogger(__name__)
PROTOCOL_VERSION = 1
PUBLISH = "/telemetry.v1.TelemetryService/Publish"
BATCH = pb.PublishRequest.BATCH_FIELD_NUMBER
IDLE_TURNS = 100
IDLE_FACTOR = 4
BUSY_EVENTS = 50
BUSY_FACTOR = 8
ENVELOPE_BYTES = 16
SHORT_TEXT = 100

Call = grpc.aio.StreamStreamCall[bytes, pb.PublishResponse]
Say = Callable[[bool], Iterable[pb.PublishRequest]]
"""What is due to be said besides batches; True asks for the last words of the stream."""


def _silence(_: bool) -> Iterable[pb.PublishRequest]:
    return ()


class StreamEndedError(Exception):
    """The stream is over and another one is to be opened; the reason is a constant name."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(slots=True)
class Flight:
    """What was sent and is not acknowledged: (last sequence, bytes) of each batch."""

    window_bytes: int
    sent_through: int
    batches: deque[tuple[int, int]] = field(default_factory=deque)
    bytes: int = 0
    heard_at_s: float = 0.0

    def takes(self, size: int) -> bool:
        """Whether a batch of `size` bytes may go; one always may where none is under way."""
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


class Exchange:
    """Delivers a backlog on one stream, and says in between what `talk` gives.

    `mended` counts values that did not fit; `rejected` what the sidecar refused.
    """

    def __init__(
        self,
        backlog: Backlog,
        settings: TelemetrySettings,
        *,
        recovery: bool = False,
        talk: Callable[[pb.Welcome], Say] = lambda _: _silence,
        mended: Counter[tuple[str, str]],
        rejected: Counter[str],
    ) -> None:
        self.opened = False
        self._closing = False
        self._backlog = backlog
        self._settings = settings
        self._recovery = recovery
        self._talk = talk
        self._mended = mended
        self._rejected = rejected
        self._kinds = kinds(backlog.meta.defines)
        self._told = 0
        self._limits = pb.Limits()
        self._flight = Flight(0, 0)
        self._pending: tuple[int, bytes] | None = None

    async def run(
        self, channel: grpc.aio.Channel, done: Callable[[], bool], farewell: pb.PublishRequest | None
    ) -> None:
        """Opens the stream and delivers until `done()` holds; then says `farewell` and ends it in order.

        Raises:
            StreamEndedError: the stream broke or fell silent.
            grpc.aio.AioRpcError: the sidecar refused or ended it, or is not there.
        """
        call: Call = channel.stream_stream(PUBLISH, response_deserializer=pb.PublishResponse.FromString)()
        try:
            talk = self._talk(await self._open(call))
            self.opened = True
            await self._deliver(call, talk, done, farewell)
        except TimeoutError as error:
            raise StreamEndedError("silent") from error
        except asyncio.InvalidStateError as error:  # what grpc.aio raises for a write to a call that has ended
            raise StreamEndedError("broken") from error
        finally:
            self.opened = False
            call.cancel()

    async def _deliver(
        self,
        call: Call,
        talk: Say,
        done: Callable[[], bool],
        farewell: pb.PublishRequest | None,
    ) -> None:
        ended: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(self._read(call))
                await self._write(call, talk, done)
                for message in (*talk(True), *([farewell] if farewell else [])):
                    await self._put(call, message.SerializeToString())
                await self._finish(call, reading)
        except* (grpc.aio.AioRpcError, StreamEndedError, TimeoutError, asyncio.InvalidStateError) as group:
            ended = next(leaves(group))  # one of them is enough to say why the stream ended
        # Not in the clause: before Python 3.11.4 what is raised there comes out in a group (cpython, gh-103590).
        if ended is not None:
            raise ended

    async def _finish(self, call: Call, reading: asyncio.Task[None]) -> None:
        """Ends the stream and waits for the sidecar to have read it: a cancelled call would lose the last words."""
        self._closing = True
        await call.done_writing()
        await asyncio.wait([reading], timeout=self._settings.connect_deadline_s)
        call.cancel()

    async def _open(self, call: Call) -> pb.Welcome:
        async with asyncio.timeout(self._settings.connect_deadline_s):
            await call.write(self._hello().SerializeToString())
            answer = await call.read()
        if not isinstance(answer, pb.PublishResponse) or not answer.HasField("welcome"):
            raise StreamEndedError("no_welcome")
        welcome = answer.welcome
        self._limits = welcome.limits
        self._backlog.acknowledge(welcome.durable_through)
        self._flight = Flight(welcome.window_bytes, self._backlog.first - 1, heard_at_s=time.monotonic())
        self._pending, self._closing = None, False
        self._told = 0
        await self._tell_types(call)
        return welcome

    async def _tell_types(self, call: Call) -> None:
        """Defines the event types that were declared since the last look."""
        defines = self._backlog.meta.defines
        for define in defines[self._told :]:
            await self._put(call, pb.PublishRequest(define=define).SerializeToString())
        self._told = len(defines)

    def _hello(self) -> pb.PublishRequest:
        meta = self._backlog.meta
        hello = pb.Hello(
            protocol_version=PROTOCOL_VERSION,
            producer_id=meta.producer_id,
            session_id=meta.session_id,
            first_sequence=self._backlog.first,
            resource=dict(meta.resource),
            session_start_time_unix_nano=meta.started_ns,
            recovery=self._recovery,
        )
        return pb.PublishRequest(hello=hello)

    async def _put(self, call: Call, data: bytes) -> None:
        async with asyncio.timeout(self._settings.ack_deadline_s):
            await call.write(data)

    async def _read(self, call: Call) -> None:
        while True:
            answer: Any = await call.read()
            if not isinstance(answer, pb.PublishResponse):
                break
            if answer.HasField("ack"):
                self._take(answer.ack)
        if not self._closing:
            raise StreamEndedError("ended_by_sidecar")

    def _take(self, ack: pb.Ack) -> None:
        flight = self._flight
        flight.heard_at_s = time.monotonic()
        flight.acknowledge(ack.durable_through)
        flight.window_bytes = ack.window_bytes or flight.window_bytes
        for refusal in ack.rejected:
            if refusal.reason not in self._rejected:
                log.warning("events refused", extra={"reason": refusal.reason, "detail": refusal.message})
            self._rejected[refusal.reason] += refusal.count
        self._backlog.acknowledge(ack.durable_through)

    async def _write(self, call: Call, talk: Say, done: Callable[[], bool]) -> None:
        idle = 0
        rest_s = self._settings.batch_age_ms / 1000
        while not done():
            for message in talk(False):
                await self._put(call, message.SerializeToString())
            sent = await self._send(call)
            idle = 0 if sent else idle + 1
            if sent < self._settings.batch_events:
                self._check_silence()
                await asyncio.sleep(rest_s * pace(sent, idle))

    async def _send(self, call: Call) -> int:
        """Sends the next batch, where there is one and the window takes it. How many events it had."""
        flight = self._flight
        pending = self._pending = self._pending or self._next()
        if pending is None or not flight.takes(len(pending[1])):
            return 0
        last, data = pending
        count = last - flight.sent_through
        if not flight.batches:
            flight.heard_at_s = time.monotonic()
        if self._told < len(self._backlog.meta.defines):
            await self._tell_types(call)
        self._pending = None
        flight.send(last, len(data))
        await self._put(call, data)
        return count

    def _next(self) -> tuple[int, bytes] | None:
        flight = self._flight
        limit = min(self._settings.batch_events, self._limits.max_batch_events or self._settings.batch_events)
        run = self._backlog.after(flight.sent_through, limit)
        if not run.rows:
            return None
        if run.first == flight.sent_through + 1:
            return self._batch(run)
        if not flight.batches:  # a stream cannot leave lost events out: a new one begins behind them
            raise StreamEndedError("gap")
        return None

    def _batch(self, run: Run) -> tuple[int, bytes]:
        """The largest batch from the run's start that the sidecar takes: (last sequence, message)."""
        rows = run.rows
        defines = self._backlog.meta.defines  # looked at after the rows: a type is declared before its first event
        if len(defines) > len(self._kinds):
            self._kinds = kinds(defines)
        most = min(self._limits.max_message_bytes or 1 << 22, self._flight.window_bytes or 1 << 22) - ENVELOPE_BYTES
        while True:
            data = delimited(BATCH, encode(run.first, rows, self._kinds, self._mended))
            if len(data) <= most or len(rows) == 1:
                return run.first + len(rows) - 1, data
            rows = rows[: len(rows) // 2]

    def _check_silence(self) -> None:
        flight = self._flight
        if flight.batches and time.monotonic() - flight.heard_at_s > self._settings.ack_deadline_s:
            raise StreamEndedError("unacknowledged")


def pace(sent: int, idle: int) -> float:
    """How many times the age of a batch to rest: `sent` events went last, nothing for `idle` turns.

    A message costs as much as a hundred events: many events wait longer, so that few messages carry them.
    """
    if idle >= IDLE_TURNS:
        return IDLE_FACTOR
    return min(BUSY_FACTOR, max(1.0, sent / BUSY_EVENTS))
