"""Ingest service: the gRPC end of the contract. Streams come in, acknowledgements go out.

A batch takes this way, all in one event loop: `IngestService` receives its bytes and finds the action in the table
of `protocol.py`; `accept.Intake` validates it (`validate.py`), appends it to the journal and applies it to the
series and the log queue; a task of the stream acknowledges it, after a sync of the disk where the settings want
one.

Tasks of a stream: one reads and applies messages in order, one writes acknowledgements, one waits for the order to
end the stream (a newer stream of the session, a drain). While the volume rejects writes, the reading task repeats
the message that it has and reads no other: gRPC's flow control and the window of the producer hold back the rest.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError
from grpc import aio

from pod_runtime.cancellation import PersistentTaskGroup
from sidecar.ingest.accept import Intake, OpenStream
from sidecar.ingest.admission import StreamClaim, check_admission, peer_names
from sidecar.ingest.producers import Producers
from sidecar.ingest.protocol import TABLE, UNKNOWN, StreamRefusedError, StreamState, batch_bytes, refuse
from sidecar.ingest.validate import PROTOCOL_VERSION, ContractFault
from sidecar.journal.group_commit import GroupCommit
from sidecar.telemetry.settings import TelemetrySettings
from telemetry_contract.v1 import telemetry_pb2 as pb

SERVICE = "telemetry.v1.TelemetryService"
# A connection without a Hello counts as no producer, and none would ever end it.
HELLO_DEADLINE_S = 10.0
# Streams without a Hello; four for each of `max_producers` by default.
MAX_UNNAMED = 64
JOURNAL_RETRY_S = 0.2
"""Pause before a message is tried again while the volume rejects writes."""
# As many as max_event_types by default: room for one rejection of each type.
MAX_REJECTIONS = 256

_log = logging.getLogger(__name__)
Context = aio.ServicerContext[Any, Any]
T = TypeVar("T")


@dataclass(slots=True)
class IngestCounts:
    """Counters for conditions too frequent to log."""

    unknown_messages: int = 0
    malformed_messages: int = 0
    broken_rules: dict[str, int] = field(default_factory=dict)
    journal_waits: int = 0


@dataclass(slots=True, eq=False)
class ServedStream:
    """A stream that is being served, and the answers that its producer still waits for."""

    state: StreamState = StreamState.NEW
    hello: pb.Hello = field(default_factory=pb.Hello)
    claim: StreamClaim = field(default_factory=lambda: StreamClaim("", ""))
    accepted: OpenStream | None = None
    """The intake's side of the stream, after its Hello."""
    rejections: list[pb.Rejection] = field(default_factory=list)
    ack_due: bool = False
    ended: bool = False
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the acknowledging task has something to do."""
    told_to_end: asyncio.Future[StreamRefusedError] = field(default_factory=asyncio.Future)

    def schedule_ack(self, rejections: Sequence[pb.Rejection] = ()) -> None:
        """Have the producer told what is durable, and what was rejected."""
        self.rejections += rejections
        if len(self.rejections) > MAX_REJECTIONS:
            # The producer does not read its answers: rejections get coarser, so that the list stays bounded.
            self.rejections = merged(self.rejections)
        self.ack_due = True
        self.wake.set()

    def end(self, reason: StreamRefusedError) -> None:
        """End the stream from outside."""
        if not self.told_to_end.done():
            self.told_to_end.set_result(reason)

    def opened(self) -> OpenStream:
        """The intake's side of the stream, which the table of the protocol guarantees after Hello."""
        if self.accepted is None:
            raise RuntimeError("a message before Hello passed the table of the protocol")
        return self.accepted


class IngestService:
    """Serves `telemetry.v1.TelemetryService`. `commit.run` must be running."""

    def __init__(self, intake: Intake, producers: Producers, commit: GroupCommit, clock: Callable[[], int]) -> None:
        self._intake, self.producers, self._commit, self._clock = intake, producers, commit, clock
        self._settings = intake.settings
        self._journal = intake.journal
        self._unnamed: set[ServedStream] = set()
        self._named: set[ServedStream] = set()
        self._open: dict[tuple[str, str], ServedStream] = {}
        """The newest stream of each session."""
        self.counts = IngestCounts()
        self._draining = False
        self.idle = asyncio.Event()
        """Set while no stream is open."""
        self.idle.set()

    def is_connected(self, producer_id: str, session_id: str) -> bool:
        """True while a stream of the session is open."""
        return (producer_id, session_id) in self._open

    def handler(self) -> grpc.GenericRpcHandler:
        """Handler that serves the contract on a gRPC server."""
        # Without generated (de)serializers messages stay bytes: a batch is journaled as it was received.
        method: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(self.publish)
        return grpc.method_handlers_generic_handler(SERVICE, {"Publish": method})

    async def publish(self, requests: AsyncIterator[bytes], context: Context) -> None:
        """Serve one stream to its end."""
        stream = ServedStream()
        refused: StreamRefusedError | None = _crowded()
        if len(self._unnamed) < MAX_UNNAMED:
            self._unnamed.add(stream)
            try:
                refused = await self._serve(stream, requests, context)
            finally:
                self._close(stream)
        if refused is not None:
            _log.warning("stream refused", extra={"status": refused.status.name, "reason": refused.text})
            self.counts.broken_rules[refused.rule] = self.counts.broken_rules.get(refused.rule, 0) + 1
            await context.abort(refused.status, refused.text)

    async def _serve(
        self, stream: ServedStream, requests: AsyncIterator[bytes], context: Context
    ) -> StreamRefusedError | None:
        refused = None
        try:
            async with PersistentTaskGroup() as tasks:
                tasks.create_task(self._acknowledge(stream, context))
                ending = tasks.create_task(self._end_when_told(stream))
                await self._read(stream, requests, context)
                # The acknowledging task sends its last answer before the group ends.
                stream.ended = True
                stream.wake.set()
                ending.cancel()
        except* StreamRefusedError as group:
            refused = next(error for error in group.exceptions if isinstance(error, StreamRefusedError))
        return refused

    @staticmethod
    async def _end_when_told(stream: ServedStream) -> None:
        raise await stream.told_to_end

    async def _read(self, stream: ServedStream, requests: AsyncIterator[bytes], context: Context) -> None:
        # A deadline for Hello only: afterwards a quiet stream is watched by the age of its heartbeats.
        async with asyncio.timeout(HELLO_DEADLINE_S) as deadline:
            async for raw in requests:
                stream.claim.heard_s = monotonic()
                batch = batch_bytes(raw)
                if batch is not None and stream.state is StreamState.OPEN:
                    await self._batch(stream, batch)
                else:
                    await self._message(stream, raw, context)
                deadline.reschedule(None)

    async def _message(self, stream: ServedStream, raw: bytes, context: Context) -> None:
        try:
            request = pb.PublishRequest.FromString(raw)
        except DecodeError:
            self.counts.malformed_messages += 1
            refuse("malformed_message", "a message that is no PublishRequest")
        kind = request.WhichOneof("message") or UNKNOWN
        state = TABLE[stream.state, kind]
        if isinstance(state, ContractFault):
            refuse(state.reason, state.message)
        await self._act(kind, request, stream, context)
        stream.state = state

    async def _act(self, kind: str, request: pb.PublishRequest, stream: ServedStream, context: Context) -> None:
        hello = stream.hello
        match kind:
            case "hello":
                await self._welcome(stream, request.hello, context)
            case "define":
                rejections = await self._journaled(lambda: self._intake.define(stream.opened(), request.define))
                if rejections:
                    stream.schedule_ack(rejections)
            case "batch":
                await self._batch(stream, request.batch.SerializeToString())
            case "heartbeat":
                self.producers.heartbeat(hello, request.heartbeat, self._clock())
            case "secrets_applied":
                self.producers.applied(hello, request.secrets_applied)
            case "secrets_rejected":
                self.producers.rejected(hello, request.secrets_rejected)
            case "goodbye":
                await self._journaled(lambda: self._intake.end_session(stream.opened()))
                stream.claim.left = True
                stream.schedule_ack()
                self.producers.goodbye(hello, request.goodbye.reason)
            case _:
                self.counts.unknown_messages += 1

    async def _welcome(self, stream: ServedStream, hello: pb.Hello, context: Context) -> None:
        replaced = self._admit(hello, context)
        try:
            accepted = self._intake.open_stream(hello, self._clock())
        except OSError as error:
            # Ended and not repeated: the producer keeps its events anyhow, and its next try is a new stream.
            self._journal.health.failed(error, self._clock())
            text = f"the journal rejects writes now: {error}"
            raise StreamRefusedError(grpc.StatusCode.UNAVAILABLE, text) from error
        stream.hello, stream.accepted = hello, accepted
        claim = StreamClaim(hello.producer_id, hello.session_id, hello.recovery, monotonic())
        stream.claim = claim
        self._unnamed.discard(stream)
        self._named.add(stream)
        self._open[hello.producer_id, hello.session_id] = stream
        self.idle.clear()
        for older in replaced:
            self._named.discard(older)
            older.end(StreamRefusedError(grpc.StatusCode.ALREADY_EXISTS, "a newer stream took the place of this one"))
        self.producers.connected(hello, self._clock())
        # `durable_through` may cover events of the older stream whose sync is still under way.
        await self._commit.wait()
        welcome = pb.Welcome(
            protocol_version=PROTOCOL_VERSION,
            durable_through=accepted.state.durable_through,
            window_bytes=self._settings.window_bytes,
            limits=_limits(self._settings),
            heartbeat_interval_ms=self._settings.heartbeat_interval_ms,
        )
        await context.write(pb.PublishResponse(welcome=welcome).SerializeToString())

    def end_streams(self) -> None:
        """End every stream, and accept no new one: the sidecar is draining."""
        self._draining = True
        for stream in self._open.values():
            stream.end(_draining())

    def _admit(self, hello: pb.Hello, context: Context) -> list[ServedStream]:
        """Admit a Hello, or raise StreamRefusedError; return the streams that it takes the place of."""
        if self._draining:
            raise _draining()
        claims = {id(stream.claim): stream for stream in self._named}
        open_claims = [stream.claim for stream in claims.values()]
        names = peer_names(context.auth_context())
        replaced = check_admission(hello, names, open_claims, self._settings, monotonic())
        return [claims[id(claim)] for claim in replaced]

    async def _batch(self, stream: ServedStream, raw: bytes) -> None:
        accepted = stream.opened()
        rejections = await self._journaled(lambda: self._intake.batch(accepted, raw, self._clock()))
        self.producers.events(stream.hello, accepted.state.durable_through, self._clock())
        stream.schedule_ack(rejections)

    async def _journaled(self, attempt: Callable[[], T]) -> T:
        """Repeat `attempt` until the volume accepts its records."""
        while True:
            end = self._journal.end
            try:
                result = attempt()
            except OSError as error:
                # No acknowledgement and no next message: the producer's window fills, and it waits.
                self._journal.health.failed(error, self._clock())
                self.counts.journal_waits += 1
                await asyncio.sleep(JOURNAL_RETRY_S)
            else:
                # A duplicate is not written: that it was taken proves nothing about the volume.
                if self._journal.end != end:
                    self._journal.health.recovered()
                return result

    async def _acknowledge(self, stream: ServedStream, context: Context) -> None:
        """Tell the producer what is durable, several batches at a time where they come fast."""
        # Also after the end, if an answer is due: a Goodbye may arrive while the one before is being written.
        while stream.ack_due or not stream.ended:
            await stream.wake.wait()
            if self._settings.ack_delay_ms and not stream.ended:
                await asyncio.sleep(self._settings.ack_delay_ms / 1000)
            stream.wake.clear()
            if stream.accepted is None or not stream.ack_due:
                continue
            stream.ack_due = False
            # Read before the sync: it covers these events, and perhaps not those that come meanwhile.
            durable = stream.accepted.state.durable_through
            rejections, stream.rejections = stream.rejections, []
            await self._commit.wait()
            ack = pb.Ack(durable_through=durable, rejected=rejections)
            await context.write(pb.PublishResponse(ack=ack).SerializeToString())

    def _close(self, stream: ServedStream) -> None:
        self._unnamed.discard(stream)
        self._named.discard(stream)
        if stream.accepted is None:
            return
        self._intake.close_stream(stream.accepted)
        key = (stream.hello.producer_id, stream.hello.session_id)
        # Unless a newer stream took the place: then the producer is still connected.
        if self._open.get(key) is stream:
            del self._open[key]
            if not self._open:
                self.idle.set()
            self.producers.disconnected(stream.hello, self._clock())


def _limits(settings: TelemetrySettings) -> pb.Limits:
    return pb.Limits(
        max_message_bytes=settings.max_message_bytes,
        max_batch_events=settings.max_batch_events,
        max_event_types=settings.max_event_types,
        max_fields=settings.max_fields,
        max_string_bytes=settings.max_string_bytes,
        max_series_per_instrument=settings.max_series,
    )


def _crowded() -> StreamRefusedError:
    text = f"{MAX_UNNAMED} streams wait for their Hello: send it first, and close streams that are not used"
    return StreamRefusedError(grpc.StatusCode.RESOURCE_EXHAUSTED, text, "too_many_streams")


def _draining() -> StreamRefusedError:
    return StreamRefusedError(grpc.StatusCode.UNAVAILABLE, "the sidecar is draining: connect again")


def merged(rejections: Sequence[pb.Rejection]) -> list[pb.Rejection]:
    """One rejection a reason: the first of it, with the count of all."""
    by_reason: dict[str, pb.Rejection] = {}
    for item in rejections:
        found = by_reason.get(item.reason)
        if found is None:
            by_reason[item.reason] = item
        else:
            found.count += item.count
    return list(by_reason.values())
