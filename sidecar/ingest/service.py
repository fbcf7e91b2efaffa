"""The gRPC end of the contract: streams in, acknowledgements out.

Messages come as bytes: a batch is parsed once and journaled as it was received.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc import aio

from sidecar.ingest.accept import Intake, StreamFaultError
from sidecar.ingest.producers import Producers
from sidecar.ingest.protocol import UNKNOWN, Action, Broken, State, step
from sidecar.ingest.stream_state import (
    Connection,
    RefusedError,
    batch_bytes,
    draining,
    refuse,
)
from sidecar.ingest.validate import PROTOCOL_VERSION, Limits
from telemetry_contract.v1 import telemetry_pb2 as pb

SERVICE = "telemetry.v1.TelemetryService"
HELLO_DEADLINE_S = 10.0
JOURNAL_RETRY_S = 0.2
"""How often a batch is tried again while the volume takes nothing; its producer waits meanwhile."""

_log = logging.getLogger(__name__)
Context = aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What every producer is told, or held to."""

    limits: Limits
    window_bytes: int
    heartbeat_interval_ms: int
    max_producers: int
    allowed_producers: frozenset[str]
    ack_delay_s: float


@dataclass(slots=True)
class IngestCounts:
    """What is worth a counter and no line in a log."""

    unknown_messages: int = 0
    malformed_messages: int = 0
    broken_rules: dict[str, int] = field(default_factory=dict)
    journal_waits: int = 0


class Ingest:
    """Serves `telemetry.v1.TelemetryService`. `durable` is awaited before an event is acknowledged."""

    def __init__(
        self,
        intake: Intake,
        producers: Producers,
        terms: Terms,
        *,
        clock: Callable[[], int],
        durable: Callable[[], Any],
        journal_state: Callable[[OSError | None], None],
    ) -> None:
        self._intake = intake
        self._producers = producers
        self._terms = terms
        self._clock = clock
        self._durable = durable
        self._journal_state = journal_state
        self._open: dict[tuple[str, str], Connection] = {}
        self.counts = IngestCounts()
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def streams(self) -> int:
        """Streams that are open."""
        return len(self._open)

    async def wait_idle(self) -> None:
        """Waits until no stream is open."""
        await self._idle.wait()

    def is_connected(self, producer_id: str, session_id: str) -> bool:
        """Whether a stream of the session is open."""
        return (producer_id, session_id) in self._open

    def handler(self) -> grpc.GenericRpcHandler:
        """What a gRPC server needs to serve the contract."""
        method: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(self.publish)
        return grpc.method_handlers_generic_handler(SERVICE, {"Publish": method})

    async def publish(self, requests: AsyncIterator[bytes], context: Context) -> None:
        """Serves one stream to its end."""
        connection = Connection()
        try:
            refused = await self._serve(connection, requests, context)
        finally:
            self._closed(connection)
        if refused is not None:
            _log.warning("stream refused", extra={"status": refused.status.name, "reason": refused.text})
            self.counts.broken_rules[refused.rule] = self.counts.broken_rules.get(refused.rule, 0) + 1
            await context.abort(refused.status, refused.text)

    async def _serve(
        self, connection: Connection, requests: AsyncIterator[bytes], context: Context
    ) -> RefusedError | None:
        refused = None
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._acknowledge(connection, context))
                ending = tasks.create_task(self._end_when_told(connection))
                await self._read(connection, requests, context)
                connection.ended = True
                connection.news.set()
                ending.cancel()
        except* RefusedError as group:
            refused = next(error for error in group.exceptions if isinstance(error, RefusedError))
        return refused

    async def _read(self, connection: Connection, requests: AsyncIterator[bytes], context: Context) -> None:
        async with asyncio.timeout(HELLO_DEADLINE_S) as deadline:
            async for raw in requests:
                await self._take(connection, raw, context)
                deadline.reschedule(None)

    async def _take(self, connection: Connection, raw: bytes, context: Context) -> None:
        batch = batch_bytes(raw)
        if batch is not None and connection.state is State.OPEN:
            await self._batch(connection, batch)
        else:
            await self._message(connection, raw, context)

    async def _message(self, connection: Connection, raw: bytes, context: Context) -> None:
        try:
            request = pb.PublishRequest.FromString(raw)
        except DecodeError:
            self.counts.malformed_messages += 1
            refuse("malformed_message", "a message that is no PublishRequest")
        kind = request.WhichOneof("message") or UNKNOWN
        found = step(connection.state, kind)
        if isinstance(found, Broken):
            refuse(found.rule, found.message)
        action, state = found
        await self._act(action, request, connection, context)
        connection.state = state

    async def _act(
        self, action: Action, request: pb.PublishRequest, connection: Connection, context: Context
    ) -> None:
        hello = connection.hello
        match action:
            case Action.WELCOME:
                await self._welcome(connection, request.hello, context)
            case Action.DEFINE:
                await self._define(connection, request.define)
            case Action.BATCH:
                await self._batch(connection, request.batch.SerializeToString())
            case Action.HEARTBEAT:
                self._producers.heartbeat(hello, request.heartbeat, self._clock())
            case Action.APPLIED:
                self._producers.applied(hello, request.secrets_applied)
            case Action.REJECTED:
                self._producers.rejected(hello, request.secrets_rejected)
            case Action.LEAVE:
                await self._leave(connection, request.goodbye)
            case Action.IGNORE:
                self.counts.unknown_messages += 1

    async def _welcome(self, connection: Connection, hello: pb.Hello, context: Context) -> None:
        self._admit(hello)
        try:
            stream = self._intake.open_stream(hello, self._clock())
        except StreamFaultError as error:
            refuse(error.fault.reason, error.fault.message)
        except OSError as error:
            self._journal_state(error)
            raise RefusedError(grpc.StatusCode.UNAVAILABLE, f"the journal takes nothing now: {error}") from error
        connection.hello, connection.stream = hello, stream
        key = (hello.producer_id, hello.session_id)
        older = self._open.get(key)
        self._open[key] = connection
        self._idle.clear()
        if older is not None:
            older.end(RefusedError(grpc.StatusCode.ALREADY_EXISTS, "the session has another, newer stream"))
        self._producers.connected(hello, self._clock())
        await self._durable()
        await context.write(_welcome_message(self._terms, stream.state.durable_through))

    def end_streams(self) -> None:
        """Ends every stream, and takes no new one: the sidecar is draining."""
        self._draining = True
        for connection in self._open.values():
            connection.end(draining())

    def _admit(self, hello: pb.Hello) -> None:
        if self._draining:
            raise draining()
        allowed = self._terms.allowed_producers
        if allowed and hello.producer_id not in allowed:
            text = f"producer {hello.producer_id[:64]!r} is not among telemetry.allowed_producers"
            raise RefusedError(grpc.StatusCode.PERMISSION_DENIED, text)
        others = {producer_id for producer_id, _ in self._open} - {hello.producer_id}
        if len(others) >= self._terms.max_producers:
            text = f"{len(others)} producers are connected, telemetry.max_producers allows no more"
            raise RefusedError(grpc.StatusCode.RESOURCE_EXHAUSTED, text)

    async def _define(self, connection: Connection, define: pb.Define) -> None:
        stream = connection.opened()
        while True:
            try:
                rejections = self._intake.define(stream, define)
            except OSError as error:
                await self._wait_for_journal(error)
                continue
            break
        self._journal_state(None)
        if rejections:
            connection.tell_soon(rejections)

    async def _batch(self, connection: Connection, raw: bytes) -> None:
        stream = connection.opened()
        while True:
            now_ns = self._clock()
            try:
                rejections = self._intake.batch(stream, raw, now_ns)
            except StreamFaultError as error:
                refuse(error.fault.reason, error.fault.message)
            except OSError as error:
                await self._wait_for_journal(error)
                continue
            break
        self._journal_state(None)
        self._producers.events(connection.hello, stream.state.durable_through, now_ns)
        connection.tell_soon(rejections)

    async def _wait_for_journal(self, error: OSError) -> None:
        """No acknowledgement and no next message: the producer's window fills, and it waits."""
        self._journal_state(error)
        self.counts.journal_waits += 1
        await asyncio.sleep(JOURNAL_RETRY_S)

    async def _leave(self, connection: Connection, goodbye: pb.Goodbye) -> None:
        stream = connection.opened()
        while True:
            try:
                self._intake.end_session(stream)
            except OSError as error:
                await self._wait_for_journal(error)
                continue
            break
        connection.tell_soon()
        self._producers.goodbye(connection.hello, goodbye.reason)

    async def _acknowledge(self, connection: Connection, context: Context) -> None:
        """Tells the producer what is durable, several batches at a time where they come fast."""
        while not connection.ended:
            await connection.news.wait()
            if self._terms.ack_delay_s and not connection.ended:
                await asyncio.sleep(self._terms.ack_delay_s)
            connection.news.clear()
            await self._tell(connection, context)

    async def _tell(self, connection: Connection, context: Context) -> None:
        stream = connection.stream
        if stream is None or not connection.untold:
            return
        connection.untold = False
        durable = stream.state.durable_through
        rejections, connection.rejections = connection.rejections, []
        await self._durable()
        await context.write(_ack_message(durable, rejections))

    @staticmethod
    async def _end_when_told(connection: Connection) -> None:
        connection.over = asyncio.get_running_loop().create_future()
        raise await connection.over

    def _closed(self, connection: Connection) -> None:
        stream = connection.stream
        if stream is None:
            return
        self._intake.close_stream(stream)
        key = (connection.hello.producer_id, connection.hello.session_id)
        if self._open.get(key) is connection:
            del self._open[key]
            if not self._open:
                self._idle.set()
            self._producers.disconnected(connection.hello, self._clock())


def _welcome_message(terms: Terms, durable_through: int) -> bytes:
    welcome = pb.Welcome(
        protocol_version=PROTOCOL_VERSION,
        durable_through=durable_through,
        window_bytes=terms.window_bytes,
        limits=terms.limits.message(),
        heartbeat_interval_ms=terms.heartbeat_interval_ms,
    )
    return pb.PublishResponse(welcome=welcome).SerializeToString()


def _ack_message(durable_through: int, rejections: list[pb.Rejection]) -> bytes:
    ack = pb.Ack(durable_through=durable_through, rejected=rejections)
    return pb.PublishResponse(ack=ack).SerializeToString()
